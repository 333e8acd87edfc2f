// The innermost loops of the CPU path, for several instruction sets of which one is chosen at run time. Plain C: the caller
// checks shapes, owns the memory and splits the work; every function takes a range of it.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../../kernels/types.clh"
#include "../../../kernels/elementwise.clh"
#include "wb_math.h"
#include "wb_threads.h"

// The operations of kernels/elementwise.clh, numbered in their order there.
enum wb_map_operation {
#define MAP(NAME, FORMULA) WB_MAP_##NAME,
    WB_MAPS(MAP)
#undef MAP
};

// The name that an operation has there.
const char *wb_map_name(int operation);

// Memory that a thread keeps between calls.
typedef struct { void *memory; size_t size; } wb_scratch;
void *wb_scratch_get(wb_scratch *scratch, size_t bytes);
void wb_scratch_free(wb_scratch *scratch);

// Where the weights of one panel lie in a file, with strides in floats from that of column 0, channel 0, tap 0, and what they
// are multiplied by: `scale[column * column_scale + channel * channel_scale]`. A panel has room for `width` columns.
typedef struct {
    int columns, channels, taps, width;
    int pads; // whether columns past the last are written, as zeros
    int64_t column_stride, channel_stride, tap_stride;
    int column_scale, channel_scale;
} wb_packing;

// One of those weights; products are in double precision, rounded once. `from` has any alignment, `scale` may be NULL.
static inline float wb_packed_weight(
    const wb_packing *p, const void *from, const double *scale, int column, int channel, int tap)
{
    float w;
    __builtin_memcpy(
        &w, (const char *)from + 4 * (column * p->column_stride + channel * p->channel_stride + tap * p->tap_stride), 4);
    return scale ? (float)((double)w * scale[column * p->column_scale + channel * p->channel_scale]) : w;
}

// Packs a panel as `to[(tap * channels + channel) * width + column]`.
void wb_pack(const wb_packing *, const void *from, const double *scale, float *to);

// `weights` and `bias` are packed (see Convolution.swift); `zeros` holds as many zeros as a kernel row reads.
typedef struct { const float *x, *weights, *bias, *residual, *zeros; float *y; } wb_conv_operands;

// Of a product of whole numbers (Steps/WholeProduct.swift): bytes, packed weights, and for each column its bias, the sum of its weights,
// its weights' zero point and what its sums are multiplied by; `zero` is the number in x that stands for 0.
typedef struct { const uint8_t *x; const int *weights, *bias, *sums, *offsets; const float *scales, *zero; void *y; } wb_whole_operands;

// One instruction set. Ranges count output rows (pixels) and panels, or the outer iterations of a grid, or pixels, or rows.
typedef struct {
    const char *name;
    int tile_rows;
    void (*convolution)(const wb_conv *, const wb_conv_operands *, wb_scratch *, int64_t row0, int64_t row1,
        int panel0, int panel1);
    void (*depthwise)(const wb_conv *, const wb_conv_operands *, int64_t row0, int64_t row1);
    void (*grouped)(const wb_conv *, const wb_conv_operands *, int64_t row0, int64_t row1);
    void (*map)(int operation, const wb_grid *, const float *x, const float *z, float *y, float a, float b,
        int64_t begin, int64_t end);
    void (*max_pool)(const wb_pool *, const float *x, float *y, int64_t begin, int64_t end);
    void (*max_pool_taken)(const wb_pool *, const float *x, int *taken, int64_t begin, int64_t end);
    void (*max_pool_vjp)(const wb_pool *, const int *taken, const float *dy, float *dx, int64_t begin, int64_t end);
    void (*average_pool)(const wb_pool *, const float *x, float *y, int64_t begin, int64_t end);
    void (*average_pool_vjp)(const wb_pool *, const float *dy, float *dx, int64_t begin, int64_t end);
    void (*reduce)(int kind, const wb_grid *, const int *offsets, int count, float divisor, const float *x,
        float *y, int64_t begin, int64_t end);
    void (*softmax)(const wb_rows *, int logarithm, const float *x, float *y, int64_t begin, int64_t end);
    void (*softmax_vjp)(const wb_rows *, int logarithm, const float *y, const float *dy, float *dx,
        int64_t begin, int64_t end);
    void (*lrn)(const wb_lrn *, const float *x, float *y, int64_t begin, int64_t end);
    void (*lrn_vjp)(const wb_lrn *, const float *x, const float *dy, float *dx, int64_t begin, int64_t end);
    void (*pack_panels)(const wb_panels *, const float *b, float *packed, int panel0, int panel1);
    void (*reverse_product)(const wb_reverse *, const float *x, const float *weights, float *y, int64_t block0,
        int64_t block1); // blocks of 32 terms
    void (*cam)(const wb_maps *, const float *activation, const float *weights, float *map, int64_t begin,
        int64_t end);
    void (*fem_statistics)(const wb_maps *, const float *activation, float *means, float *thresholds,
        int64_t begin, int64_t end);
    void (*fem)(const wb_maps *, const float *activation, const float *means, const float *thresholds,
        float *map, int64_t begin, int64_t end);
    // Tiles, positions, panels and channels of what is in the workspace.
    void (*winograd_input)(const wb_winograd *, const float *x, const float *zeros, float *v, int tile0, int tile1);
    void (*winograd_product)(const wb_winograd *, const float *v, const float *weights, float *m, int position0,
        int position1, int tile0, int tile1, int panel0, int panel1);
    void (*winograd_output)(const wb_winograd *, const float *m, const float *bias, const float *residual, float *y,
        int tile0, int tile1, int channel0, int channel1);
    void (*quantise)(const wb_grid *, const float *x, uint8_t *y, float scale, const wb_rounding *, int64_t begin, int64_t end);
    void (*dequantise)(const wb_grid *, const uint8_t *x, float *y, int zero, float scale, int64_t begin, int64_t end);
    void (*whole_float)(const wb_grid *, const int *x, float *y, int64_t begin, int64_t end);
    void (*whole_pair)(const wb_grid *, const wb_whole_pair *, const uint8_t *x, const uint8_t *z, uint8_t *y, int64_t begin,
        int64_t end);
    void (*whole_mean)(const wb_whole_mean *, const uint8_t *x, uint8_t *y, int64_t begin, int64_t end);
    void (*whole_max_pool)(const wb_pool *, const uint8_t *x, uint8_t *y, int64_t begin, int64_t end);
    void (*whole_product)(const wb_conv *, const wb_whole_sums *, const wb_whole_operands *, wb_scratch *, int64_t row0,
        int64_t row1, int panel0, int panel1);
    void (*whole_depthwise)(const wb_conv *, const wb_whole_sums *, const wb_whole_operands *, int64_t row0, int64_t row1);
    void (*peak)(int rounds, float *y, int64_t begin, int64_t end); // whole multiples of WB_PEAK
    // Units of rows, and points of grids.
    void (*normalise)(const wb_norm *, const int *offsets, const float *x, const float *scale, const float *bias,
        float *y, int64_t begin, int64_t end);
    void (*normalise_vjp)(const wb_norm *, const int *offsets, const float *x, const float *dy, const float *scale,
        float *dx, int64_t begin, int64_t end);
    void (*extreme)(const wb_selection *, const int *offsets, const float *x, float *y, int64_t begin, int64_t end);
    void (*give)(const wb_selection *, const int *offsets, const float *taken, const float *z, float *x,
        int64_t begin, int64_t end);
    void (*top)(const wb_selection *, const int *offsets, const float *x, float *values, float *indices,
        int64_t begin, int64_t end);
    void (*factors_vjp)(const wb_selection *, const int *offsets, const float *x, const float *dy, float *dx,
        int64_t begin, int64_t end);
    void (*sparse)(const wb_grid *, const int *starts, const int *offsets, const float *weights, int weighted, const float *x,
        float *y, int64_t begin, int64_t end);
    // Points, points, pixels that are read, and those.
    void (*sample_terms)(const wb_sample *, const float *grid, int *places, float *weights, int64_t begin, int64_t end);
    void (*sample)(const wb_sample *, const float *x, const int *places, const float *weights, float *y, int64_t begin,
        int64_t end);
    void (*sample_lists)(const wb_sample *, const int *places, int *heads, int *followers, int64_t begin, int64_t end);
    void (*sample_vjp)(const wb_sample *, const int *heads, const int *followers, const float *weights, const float *dy,
        float *dx, int64_t begin, int64_t end);
} wb_functions;

// Packs panel `panel` of `panels` of weights transformed for such a tile, [position][panel][channel][32]; the others are left
// alone.
void wb_winograd_weights(
    int tile, const wb_packing *, const void *from, const double *scale, float *packed, int panels, int panel);

// The instruction sets that this processor has, best first; NULL past the last.
const wb_functions *wb_functions_at(int index);
