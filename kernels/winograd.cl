// Winograd's convolution: the transformations of its tiles. The products between them are a grouped convolution
// (convolution.cl). Formulas and their order: winograd.clh.
//
// Transformed tiles are [position][rows][channel], so every product is one of plain matrices. WB_TILE is m, the side of a tile of
// outputs, for each of which a program is built, so that all values of a tile stay in registers.
#define LINE WB_WINOGRAD_LINE(WB_TILE)

#ifdef WB_CPU_SHAPE
// A work-item takes a tile, sixteen channels at a time.
typedef float16 lanes;
#define LOAD(p) vload16(0, p)
#define STORE(v, p) wb_store16(v, p)
#define CHANNELS(c, n) for (int c = 0; c < n; c += 16)
#define TILE ((int)get_global_id(0))
#else
// A work-item takes a channel of a tile; neighbours are neighbouring channels.
typedef float lanes;
#define LOAD(p) (*(p))
#define STORE(v, p) (*(p) = (v))
#define CHANNELS(c, n) const int c = (int)get_global_id(0); if (c < n)
#define TILE ((int)get_global_id(1))
#endif
#define UNROLLED _Pragma("unroll") // registers have no index

#ifdef WB_KERNEL_winograd_input
kernel void winograd_input(global const float *restrict x, global float *restrict v, wb_winograd s)
{
    const int t = TILE;
    if (t >= s.rows) return;
    const int tiles = s.tiles_h * s.tiles_w, image = (s.first + t) / tiles, tile = s.first + t - image * tiles;
    const int top = tile / s.tiles_w * WB_TILE - s.pad_h, left = tile % s.tiles_w * WB_TILE - s.pad_w;
    global const float *from = x + image * s.h * s.w * s.c;
    CHANNELS(c, s.c)
    {
        lanes lines[LINE * LINE];
        UNROLLED
        for (int j = 0; j < LINE; j++) {
            lanes d[LINE];
            UNROLLED
            for (int i = 0; i < LINE; i++) {
                const int iy = top + i, ix = left + j;
                const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                d[i] = inside ? LOAD(from + (iy * s.w + ix) * s.c + c) : (lanes)(0.0f);
            }
            lanes *line = lines + j;
            WB_WINOGRAD_INPUT(WB_TILE, lanes, fma, d, 1, line, LINE)
        }
        UNROLLED
        for (int i = 0; i < LINE; i++) {
            const lanes *line = lines + i * LINE;
            lanes out[LINE];
            WB_WINOGRAD_INPUT(WB_TILE, lanes, fma, line, 1, out, 1)
            UNROLLED
            for (int j = 0; j < LINE; j++) STORE(out[j], v + ((i * LINE + j) * s.rows + t) * s.c + c);
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
    const int top = tile / s.tiles_w * WB_TILE, left = tile % s.tiles_w * WB_TILE;
    const int height = min(s.oh - top, WB_TILE), width = min(s.ow - left, WB_TILE);
    CHANNELS(c, s.oc)
    {
        lanes lines[WB_TILE * LINE];
        UNROLLED
        for (int j = 0; j < LINE; j++) {
            lanes d[LINE];
            UNROLLED
            for (int i = 0; i < LINE; i++) d[i] = LOAD(m + ((i * LINE + j) * s.rows + t) * s.m_pixel + c);
            lanes *line = lines + j;
            WB_WINOGRAD_OUTPUT(WB_TILE, lanes, fma, d, 1, line, LINE)
        }
        UNROLLED
        for (int i = 0; i < WB_TILE; i++) {
            if (i >= height) break;
            const lanes *line = lines + i * LINE;
            lanes out[WB_TILE];
            WB_WINOGRAD_OUTPUT(WB_TILE, lanes, fma, line, 1, out, 1)
            const int at = ((image * s.oh + top + i) * s.ow + left) * s.oc + c;
            UNROLLED
            for (int j = 0; j < WB_TILE; j++) {
                if (j >= width) break;
                lanes r = out[j];
                WB_EPILOGUE(lanes, s, r, LOAD(bias + c), LOAD(residual + at + j * s.oc))
                STORE(r, y + at + j * s.oc);
            }
        }
    }
}
#endif
