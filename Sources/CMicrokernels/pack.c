// Weights on their way from a file into the order in which kernels read them.
#include "CMicrokernels.h"

#include <string.h>

// A few columns at a time, because processors fetch a few runs of memory ahead and no more, and so many of their channels
// that what is written stays in the first-level cache until all columns are there.
enum { COLUMNS = 4, CHANNELS = 64 };

__attribute__((always_inline)) static inline void pack(
    const wb_packing *p, const void *from, const double *scale, float *to, int64_t width)
{
    // Where columns lie side by side in the file, all of them are one run.
    const int step = p->column_stride < p->channel_stride ? p->columns : COLUMNS;
    for (int first = 0; first < p->channels; first += CHANNELS) {
        const int last = first + CHANNELS < p->channels ? first + CHANNELS : p->channels;
        for (int tap = 0; tap < p->taps; tap++) {
            float *out = to + (int64_t)tap * p->channels * width;
            for (int start = 0; start < p->columns; start += step) {
                const int end = start + step < p->columns ? start + step : p->columns;
                for (int c = first; c < last; c++)
                    for (int j = start; j < end; j++) out[c * width + j] = wb_packed_weight(p, from, scale, j, c, tap);
            }
        }
    }
}

void wb_pack(const wb_packing *p, const void *from, const double *scale, float *to)
{
    if (p->pads && p->columns < p->width) memset(to, 0, (size_t)p->taps * p->channels * p->width * sizeof(float));
    if (scale)
        pack(p, from, scale, to, p->width);
    else
        pack(p, from, NULL, to, p->width);
}
