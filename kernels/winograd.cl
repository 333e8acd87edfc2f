// Winograd's convolution: the transformations of its tiles. The products between them are a grouped convolution
// (convolution.cl). Formulas and their order: winograd.clh.
//
// Transformed tiles are [position][rows][channel], so every product is one of plain matrices. WB_TILE is m, the side of a tile of
// outputs, for each of which a program is built, so that all values of a tile stay in registers.
#define LINE WB_WINOGRAD_LINE(WB_TILE)

#ifdef WB_CPU_SHAPE
// A work-item takes a tile, sixteen channels at a time.
#define CHANNELS(c, n) for (int c = 0; c < n; c += WB_VW)
#define TILE ((int)get_global_id(0))
#else
// A work-item takes a channel of a tile; neighbours are neighbouring channels.
#define CHANNELS(c, n) const int c = (int)get_global_id(0); if (c < n)
#define TILE ((int)get_global_id(1))
#endif

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
        wb_vec lines[LINE * LINE];
        WB_EACH(j, LINE) {
            wb_vec d[LINE];
            WB_EACH(i, LINE) {
                const int iy = top + i, ix = left + j;
                const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
                d[i] = inside ? WB_LOAD(from + (iy * s.w + ix) * s.c + c) : (wb_vec)(0.0f);
            }
            wb_vec *line = lines + j;
            WB_WINOGRAD_INPUT(WB_TILE, wb_vec, fma, d, 1, line, LINE)
        }
        WB_EACH(i, LINE) {
            const wb_vec *line = lines + i * LINE;
            wb_vec out[LINE];
            WB_WINOGRAD_INPUT(WB_TILE, wb_vec, fma, line, 1, out, 1)
            WB_EACH(j, LINE) WB_STORE(out[j], v + ((i * LINE + j) * s.rows + t) * s.c + c);
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
        wb_vec lines[WB_TILE * LINE];
        WB_EACH(j, LINE) {
            wb_vec d[LINE];
            WB_EACH(i, LINE) d[i] = WB_LOAD(m + ((i * LINE + j) * s.rows + t) * s.m_pixel + c);
            wb_vec *line = lines + j;
            WB_WINOGRAD_OUTPUT(WB_TILE, wb_vec, fma, d, 1, line, LINE)
        }
        WB_EACH(i, WB_TILE) {
            if (i >= height) break;
            const wb_vec *line = lines + i * LINE;
            wb_vec out[WB_TILE];
            WB_WINOGRAD_OUTPUT(WB_TILE, wb_vec, fma, line, 1, out, 1)
            const int at = ((image * s.oh + top + i) * s.ow + left) * s.oc + c;
            WB_EACH(j, WB_TILE) {
                if (j >= width) break;
                wb_vec r = out[j];
                WB_EPILOGUE(wb_vec, s, , r, WB_LOAD(bias + c), WB_LOAD(residual + at + j * s.oc))
                WB_STORE(r, y + at + j * s.oc);
            }
        }
    }
}
#endif
