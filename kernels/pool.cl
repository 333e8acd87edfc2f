// Pooling: the orders, ties and gathers are in pool.clh.
// Work: dimension 1 counts pixels of what is written, dimension 0 their channels. In the shape for CPUs a work-item computes all
// channels of a pixel, sixteen at a time; the last sixteen may cover some channels once more.

#ifdef WB_CPU_SHAPE
#define CHANNELS(BODY)                                       \
    if (s.c >= 16)                                           \
        for (int next = 0; next < s.c; next += 16) {         \
            const int c = min(next, s.c - 16);               \
            BODY(float16, int16)                             \
        }                                                    \
    else                                                     \
        for (int c = 0; c < s.c; c++) { BODY(float, int) }
#else
#define CHANNELS(BODY)                                       \
    {                                                        \
        const int c = (int)get_global_id(0);                 \
        if (c < s.c) { BODY(float, int) }                    \
    }
#endif
#define LOAD_float(p) (*(p))
#define LOAD_float16(p) vload16(0, p)
#define LOAD_int(p) (*(p))
#define LOAD_int16(p) vload16(0, p)
#define STORE_float(v, p) (*(p) = (v))
#define STORE_float16(v, p) vstore16(v, 0, p)
#define STORE_int(v, p) (*(p) = (v))
#define STORE_int16(v, p) vstore16(v, 0, p)
#define LANES_float 1
#define LANES_float16 16

// Walks the taps of output pixel `row` that lie inside the image; `at` is where the tap's channels begin.
#define WINDOW(ACTION)                                                              \
    for (int ky = 0; ky < s.kh; ky++) {                                             \
        const int iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h;               \
        if (iy < 0 || iy >= s.h) continue;                                          \
        for (int kx = 0; kx < s.kw; kx++) {                                         \
            const int ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;           \
            if (ix < 0 || ix >= s.w) continue;                                      \
            const int at = ((image * s.h + iy) * s.w + ix) * s.c + c;               \
            ACTION                                                                  \
        }                                                                           \
    }
#define OUTPUT_PIXEL                                                                \
    const int row = (int)get_global_id(1), pixels = s.oh * s.ow;                    \
    if (row >= s.n * pixels) return;                                                \
    const int image = row / pixels, oy = (row - image * pixels) / s.ow, ox = row % s.ow;

// Walks the windows that hold input pixel `row`, in ascending order; `at` is where the window's channels begin.
#define WINDOWS(ACTION)                                                                                             \
    for (int oy = wb_pool_first(iy, s.kh, s.stride_h, s.pad_h, s.dilation_h); oy < oy1; oy++) {                     \
        const int ky = wb_pool_tap(iy, oy, s.stride_h, s.pad_h, s.dilation_h);                                      \
        if (ky < 0) continue;                                                                                       \
        for (int ox = wb_pool_first(ix, s.kw, s.stride_w, s.pad_w, s.dilation_w); ox < ox1; ox++) {                 \
            const int kx = wb_pool_tap(ix, ox, s.stride_w, s.pad_w, s.dilation_w);                                  \
            if (kx < 0) continue;                                                                                   \
            const int at = ((image * s.oh + oy) * s.ow + ox) * s.c + c;                                             \
            ACTION                                                                                                  \
        }                                                                                                           \
    }
#define INPUT_PIXEL                                                                                                 \
    const int row = (int)get_global_id(1), pixels = s.h * s.w;                                                      \
    if (row >= s.n * pixels) return;                                                                                \
    const int image = row / pixels, iy = (row - image * pixels) / s.w, ix = row % s.w;                              \
    const int oy1 = wb_pool_end(iy, s.stride_h, s.pad_h, s.oh), ox1 = wb_pool_end(ix, s.stride_w, s.pad_w, s.ow);

#ifdef WB_KERNEL_max_pool
kernel void max_pool(global const float *x, global float *y, wb_pool s)
{
    OUTPUT_PIXEL
#define BODY(TYPE, INT)                                                                     \
    TYPE best = -INFINITY;                                                                  \
    WINDOW({                                                                                \
        const TYPE candidate = LOAD_##TYPE(x + at);                                         \
        best = select(select(best, candidate, best == best), best, candidate <= best);      \
    })                                                                                      \
    STORE_##TYPE(best, y + row * s.c + c);
    CHANNELS(BODY)
}
#endif

// Which tap of each window is its largest, in the order of the window.
#ifdef WB_KERNEL_max_pool_taken
kernel void max_pool_taken(global const float *x, global int *taken, wb_pool s)
{
    OUTPUT_PIXEL
#define BODY(TYPE, INT)                                                                     \
    TYPE best = -INFINITY;                                                                  \
    INT tap = -1;                                                                           \
    WINDOW({                                                                                \
        const TYPE candidate = LOAD_##TYPE(x + at);                                         \
        const INT stays = (tap >= 0) & ((candidate <= best) | (best != best));              \
        best = select(candidate, best, stays);                                              \
        tap = select((INT)(ky * s.kw + kx), tap, stays);                                    \
    })                                                                                      \
    STORE_##INT(tap, taken + row * s.c + c);
    CHANNELS(BODY)
}
#endif

#ifdef WB_KERNEL_max_pool_vjp
kernel void max_pool_vjp(global const int *taken, global const float *dy, global float *dx, wb_pool s)
{
    INPUT_PIXEL
#define BODY(TYPE, INT)                                                                     \
    TYPE sum = 0.0f;                                                                        \
    WINDOWS(sum = select(sum, sum + LOAD_##TYPE(dy + at), LOAD_##INT(taken + at) == ky * s.kw + kx);) \
    STORE_##TYPE(sum, dx + row * s.c + c);
    CHANNELS(BODY)
}
#endif

#ifdef WB_KERNEL_average_pool
kernel void average_pool(global const float *x, global float *y, wb_pool s)
{
    OUTPUT_PIXEL
    const float count = wb_pool_count(&s, oy, ox);
#define BODY(TYPE, INT)                                                                     \
    TYPE sum = 0.0f;                                                                        \
    WINDOW(sum = sum + LOAD_##TYPE(x + at);)                                                \
    float sums[LANES_##TYPE];                                                               \
    STORE_##TYPE(sum, sums);                                                                \
    for (int j = 0; j < LANES_##TYPE; j++) y[row * s.c + c + j] = wb_div(sums[j], count);
    CHANNELS(BODY)
}
#endif

#ifdef WB_KERNEL_average_pool_vjp
kernel void average_pool_vjp(global const float *dy, global float *dx, wb_pool s)
{
    INPUT_PIXEL
#define BODY(TYPE, INT)                                                                     \
    TYPE sum = 0.0f;                                                                        \
    WINDOWS({                                                                               \
        float shares[LANES_##TYPE];                                                         \
        const float count = wb_pool_count(&s, oy, ox);                                      \
        for (int j = 0; j < LANES_##TYPE; j++) shares[j] = wb_div(dy[at + j], count);       \
        sum = sum + LOAD_##TYPE(shares);                                                    \
    })                                                                                      \
    STORE_##TYPE(sum, dx + row * s.c + c);
    CHANNELS(BODY)
}
#endif
