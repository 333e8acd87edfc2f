// Whole numbers that stand for others, and sums of products of them. Integers, so the order of their terms changes no bit.
// Work: of the element-wise kernels one element each; whole_mean, one channel of an image; whole_product, ROWS pixels and WB_VW columns.

typedef uchar wb_byte;

#ifdef WB_KERNEL_quantise
kernel void quantise(global const float *x, global wb_byte *y, wb_grid g, float scale, wb_rounding r)
{
    int ox, oz, oy;
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) y[oy] = (wb_byte)wb_rounded(r, wb_div(x[ox], scale));
}
#endif

#ifdef WB_KERNEL_dequantise
kernel void dequantise(global const wb_byte *x, global float *y, wb_grid g, int zero, float scale)
{
    int ox, oz, oy;
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) y[oy] = (float)((int)x[ox] - zero) * scale;
}
#endif

#ifdef WB_KERNEL_whole_float
kernel void whole_float(global const int *x, global float *y, wb_grid g)
{
    int ox, oz, oy;
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) y[oy] = (float)x[ox];
}
#endif

#ifdef WB_KERNEL_whole_pair
kernel void whole_pair(global const wb_byte *x, global const wb_byte *z, global wb_byte *y, wb_grid g, wb_whole_pair p)
{
    int ox, oz, oy;
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) y[oy] = (wb_byte)wb_whole_of_pair(p, x[ox], z[oz]);
}
#endif

#ifdef WB_KERNEL_whole_mean
kernel void whole_mean(global const wb_byte *x, global wb_byte *y, wb_whole_mean s)
{
    const int i = (int)get_global_id(0), image = i / s.c, channel = i - image * s.c;
    if (image >= s.n) return;
    int sum = -s.zeros;
    for (int p = 0; p < s.pixels; p++) sum += x[(image * s.pixels + p) * s.c + channel];
    y[i] = (wb_byte)wb_rounded(s.rounding, (float)sum * s.scale);
}
#endif

#ifdef WB_KERNEL_whole_max_pool
kernel void whole_max_pool(global const wb_byte *x, global wb_byte *y, wb_pool s)
{
    const int i = (int)get_global_id(0), pixel = i / s.c, c = i - pixel * s.c;
    if (pixel >= s.n * s.oh * s.ow) return;
    const int line = pixel / s.ow, image = line / s.oh;
    const int top = (line - image * s.oh) * s.stride_h - s.pad_h, left = (pixel - line * s.ow) * s.stride_w - s.pad_w;
    int best = 0;
    for (int ky = 0; ky < s.kh; ky++)
        for (int kx = 0; kx < s.kw; kx++) {
            const int iy = top + ky * s.dilation_h, ix = left + kx * s.dilation_w;
            if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
            best = max(best, (int)x[((image * s.h + iy) * s.w + ix) * s.c + c]);
        }
    y[i] = (wb_byte)best;
}
#endif

#if defined(WB_KERNEL_whole_product) || defined(WB_KERNEL_whole_depthwise)

// Stores what becomes of sums `t` of column `column` on.
#if WB_VW > 1
#define LANE(v, j) ((const int *)&(v))[j]
#else
#define LANE(v, j) (v)
#endif

WB_FN void store(wb_whole_sums q, const wb_ints t, global const float *scales, int j0, int count, global void *y, int at)
{
    for (int j = 0; j < count; j++) {
        const int sum = LANE(t, j);
        if (q.stores == 0) ((global int *)y)[at + j] = sum;
        else if (q.stores == 1) ((global float *)y)[at + j] = (float)sum * scales[j0 + j];
        else ((global wb_byte *)y)[at + j] = (wb_byte)wb_rounded(q.rounding, (float)sum * scales[j0 + j]);
    }
}

#endif

#ifdef WB_KERNEL_whole_product

#define ROWS 4

// Weights: [panel][block][32][4], a word for each block of 4 channels of a tap and each column.
kernel void whole_product(
    global const wb_byte *x, global const int *weights, global const int *bias, global const int *sums, global const int *offsets,
    global const float *scales, global const float *zero, global void *y, wb_conv s, wb_whole_sums q)
{
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int parts = WB_PANEL / WB_VW, unit = (int)get_global_id(0), panel = unit / parts, part = unit - panel * parts;
    const int rows = s.n * s.od * s.oh * s.ow, row0 = (int)get_global_id(1) * ROWS;
    if (panel >= s.groups * group_panels || row0 >= rows) return;
    const int group = panel / group_panels, inside = (panel - group * group_panels) * WB_PANEL + part * WB_VW;
    if (inside >= group_columns) return;
    const int channels = s.c / s.groups, z = (int)zero[0] + q.shift;
    wb_ints acc[ROWS];
    int all[ROWS]; // of the bytes themselves
    wb_window window[ROWS];
    for (int r = 0; r < ROWS; r++) {
        acc[r] = (wb_ints)(0);
        all[r] = 0;
        window[r] = wb_window_of(&s, min(row0 + r, rows - 1));
    }
    global const int *w = weights + (size_t)panel * q.blocks * WB_PANEL + part * WB_VW;
    for (int kz = 0; kz < s.kd; kz++)
        for (int ky = 0; ky < s.kh; ky++)
            for (int kx = 0; kx < s.kw; kx++) {
                int from[ROWS];
                for (int r = 0; r < ROWS; r++) {
                    const int pixel = wb_source(&s, window[r].front, window[r].top, window[r].left, kz, ky, kx);
                    from[r] = pixel < 0 ? -1 : (window[r].image * s.d * s.h * s.w + pixel) * s.x_pixel + group * s.x_group;
                }
                for (int c = 0; c < channels; c += 4, w += WB_PANEL) {
#if WB_VW > 1
                    const wb_ints words = *(global const wb_ints_anywhere *)w;
#else
                    const int words = *w;
#endif
                    const wb_ints w0 = (words << 24) >> 24, w1 = (words << 16) >> 24, w2 = (words << 8) >> 24, w3 = words >> 24;
                    for (int r = 0; r < ROWS; r++) {
                        int b[4];
                        for (int i = 0; i < 4; i++) {
                            b[i] = c + i < channels ? (from[r] < 0 ? z : (int)x[from[r] + c + i]) : 0;
                            all[r] += b[i];
                        }
                        acc[r] += w0 * b[0] + w1 * b[1] + w2 * b[2] + w3 * b[3];
                    }
                }
            }
    const int j0 = panel * WB_PANEL + part * WB_VW, terms = s.kd * s.kh * s.kw * channels;
    for (int r = 0; r < ROWS && row0 + r < rows; r++) {
        wb_ints t;
        for (int j = 0; j < WB_VW; j++) {
            int sum = LANE(acc[r], j) + bias[j0 + j] - z * sums[j0 + j];
            if (q.offsets) sum -= offsets[j0 + j] * (all[r] - terms * z);
#if WB_VW > 1
            ((int *)&t)[j] = sum;
#else
            t = sum;
#endif
        }
        store(q, t, scales, j0, min(WB_VW, group_columns - inside), y, (row0 + r) * s.y_pixel + group * s.y_group + inside);
    }
}

#endif

#ifdef WB_KERNEL_whole_depthwise

// Weights: [tap][channel], zero points subtracted.
kernel void whole_depthwise(
    global const wb_byte *x, global const short *weights, global const int *bias, global const float *scales,
    global const float *zero, global void *y, wb_conv s, wb_whole_sums q)
{
    const int parts = (s.c + WB_VW - 1) / WB_VW, unit = (int)get_global_id(0), row = unit / parts;
    if (row >= s.n * s.od * s.oh * s.ow) return;
    const int c0 = (unit - row * parts) * WB_VW, count = min(WB_VW, s.c - c0), z = (int)zero[0] + q.shift;
    const wb_window window = wb_window_of(&s, row);
    wb_ints t;
    for (int j = 0; j < count; j++) {
        int sum = bias[c0 + j];
        for (int kz = 0, tap = 0; kz < s.kd; kz++)
            for (int ky = 0; ky < s.kh; ky++)
                for (int kx = 0; kx < s.kw; kx++, tap++) {
                    const int pixel = wb_source(&s, window.front, window.top, window.left, kz, ky, kx);
                    if (pixel < 0) continue;
                    const int b = x[(window.image * s.d * s.h * s.w + pixel) * s.c + c0 + j];
                    sum += (b - z) * weights[tap * s.c + c0 + j];
                }
#if WB_VW > 1
        ((int *)&t)[j] = sum;
#else
        t = sum;
#endif
    }
    store(q, t, scales, c0, count, y, row * s.c + c0);
}

#endif
