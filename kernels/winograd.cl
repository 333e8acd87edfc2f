// Winograd's convolution: the transformations of its tiles. The products between them are a grouped convolution
// (convolution.cl). Formulas and their order: winograd.clh.
//
// Transformed tiles are [36][rows][channel], so every product is one of plain matrices.

#ifdef WB_CPU_SHAPE
// A work-item takes a tile, sixteen channels at a time.
typedef float16 lanes;
#define LOAD(p) vload16(0, p)
#define STORE(v, p) vstore16(v, 0, p)
#define CHANNELS(c, n) for (int c = 0; c < n; c += 16)
#define TILE ((int)get_global_id(0))
#define UNROLLED
#else
// A work-item takes a channel of a tile; neighbours are neighbouring channels.
typedef float lanes;
#define LOAD(p) (*(p))
#define STORE(v, p) (*(p) = (v))
#define CHANNELS(c, n) const int c = (int)get_global_id(0); if (c < n)
#define TILE ((int)get_global_id(1))
#define UNROLLED _Pragma("unroll") // a GPU has no registers to index
#endif

#ifdef WB_KERNEL_winograd_input
kernel void winograd_input(global const float *restrict x, global float *restrict v, wb_winograd s)
{
    const int t = TILE;
    if (t >= s.rows) return;
    const int tiles = s.tiles_h * s.tiles_w, image = (s.first + t) / tiles, tile = s.first + t - image * tiles;
    const int top = tile / s.tiles_w * 4 - s.pad_h, left = tile % s.tiles_w * 4 - s.pad_w;
    global const float *from = x + image * s.h * s.w * s.c;
    CHANNELS(c, s.c)
    {
        lanes lines[36];
        for (int j = 0; j < 6; j++) {
            lanes d[6];
            for (int i = 0; i < 6; i++) {
                const int iy = top + i, ix = left + j;
                const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                d[i] = inside ? LOAD(from + (iy * s.w + ix) * s.c + c) : (lanes)(0.0f);
            }
            lanes *line = lines + j;
            WB_WINOGRAD_INPUT(lanes, fma, d, 1, line, 6)
        }
        for (int i = 0; i < 6; i++) {
            const lanes *line = lines + i * 6;
            lanes out[6];
            WB_WINOGRAD_INPUT(lanes, fma, line, 1, out, 1)
            for (int j = 0; j < 6; j++) STORE(out[j], v + ((i * 6 + j) * s.rows + t) * s.c + c);
        }
    }
}
#endif

#ifdef WB_KERNEL_winograd_output
kernel void winograd_output(
    global const float *restrict m, global const float *restrict bias, global const float *restrict residual,
    global float *restrict y, wb_winograd s)
{
    const int t = TILE;
    if (t >= s.rows) return;
    const int tiles = s.tiles_h * s.tiles_w, image = (s.first + t) / tiles, tile = s.first + t - image * tiles;
    const int top = tile / s.tiles_w * 4, left = tile % s.tiles_w * 4;
    const int height = min(s.oh - top, 4), width = min(s.ow - left, 4);
    CHANNELS(c, s.oc)
    {
        lanes lines[24];
        for (int j = 0; j < 6; j++) {
            lanes d[6];
            for (int i = 0; i < 6; i++) d[i] = LOAD(m + ((i * 6 + j) * s.rows + t) * s.m_pixel + c);
            lanes *line = lines + j;
            WB_WINOGRAD_OUTPUT(lanes, fma, d, 1, line, 6)
        }
        UNROLLED
        for (int i = 0; i < 4; i++) {
            if (i >= height) break;
            const lanes *line = lines + i * 6;
            lanes out[4];
            WB_WINOGRAD_OUTPUT(lanes, fma, line, 1, out, 1)
            const int at = ((image * s.oh + top + i) * s.ow + left) * s.oc + c;
            UNROLLED
            for (int j = 0; j < 4; j++) {
                if (j >= width) break;
                lanes r = out[j];
                WB_EPILOGUE(lanes, s, r, LOAD(bias + c), LOAD(residual + at + j * s.oc))
                STORE(r, y + at + j * s.oc);
            }
        }
    }
}
#endif
