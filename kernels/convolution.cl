// Convolution, and with it every matrix product with constant weights, in two shapes: one for CPUs, one for GPUs.
//
// The contract, kept by both shapes and by the C loops (Sources/CMicrokernels/convolution.inc):
//   The K = kh * kw * c / groups terms of an output are counted in the order kernel row, kernel column, input channel.
//   Each run of WB_CHUNK terms starts at +0 and adds its terms in that order by fma(input, weight, sum). A term on
//   padding is there, with the input +0. The sums of the chunks are added in ascending order, beginning with the
//   first. Then come bias, residual and clip, in this order, each rounded.
// Activations are channels-last. Weights are packed in panels of 32 output channels, [group][panel][K][32], biases
// likewise, with zeros where a group's last panel is not full. Narrow groups have kernels of their own (depthwise.cl).

WB_FN float conv_finish(
    const wb_conv *s, float t, global const float *bias, int at_bias, global const float *residual, int at)
{
    if (s->bias) t = t + bias[at_bias];
    if (s->residual) t = t + residual[at];
    if (s->clip) {
        t = t < s->lo ? s->lo : t;
        t = t > s->hi ? s->hi : t;
    }
    return t;
}

// Where tap (ky, kx) of an output whose window starts at (top, left) reads: the pixel's index in its image, or -1.
WB_FN int conv_source(const wb_conv *s, int top, int left, int ky, int kx)
{
    const int iy = top + ky * s->dilation_h, ix = left + kx * s->dilation_w;
    return iy >= 0 && iy < s->h && ix >= 0 && ix < s->w ? iy * s->w + ix : -1;
}

#ifdef WB_CPU_SHAPE

// One work-item computes a tile of 8 rows (output pixels) by one panel of 32 columns, in sixteen float16 sums.
// Work: dimension 0 counts tiles, dimension 1 panels. `zeros` holds as many zeros as a pixel has channels.
#define ROWS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#ifdef WB_KERNEL_convolution
kernel void convolution(
    global const float *x, global const float *weights, global const float *bias, global const float *residual,
    global const float *zeros, global float *y, wb_conv s)
{
    const int channels = s.c / s.groups, taps = s.kh * s.kw, terms = taps * channels;
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int pixels = s.oh * s.ow, rows = s.n * pixels, row0 = (int)get_global_id(0) * 8;
    const int panel = (int)get_global_id(1), group = panel / group_panels;

    global const float *base[8];
    int top[8], left[8];
    for (int r = 0; r < 8; r++) {
        const int row = row0 + r, image = row / pixels, pixel = row - image * pixels;
        base[r] = x + image * s.h * s.w * s.x_pixel + group * s.x_group;
        // Rows past the last read nothing but zeros, and are not stored.
        top[r] = row < rows ? pixel / s.ow * s.stride_h - s.pad_h : -0x40000000;
        left[r] = pixel % s.ow * s.stride_w - s.pad_w;
    }

    // Where no window touches the left or right padding, and pixels lie side by side, the taps of one kernel row are
    // one run of kw * c channels, in the same order.
    bool runs = s.x_pixel == channels && s.dilation_w == 1;
    for (int r = 0; r < 8; r++) runs = runs && left[r] >= 0 && left[r] + s.kw <= s.w;
    const int run = runs ? s.kw * channels : channels, columns_of_taps = runs ? 1 : s.kw;

    float16 total[8][2];
    global const float *b = weights + panel * terms * WB_PANEL;
    int ky = 0, kx = 0, c = 0;
    for (int k0 = 0; k0 < terms; k0 += WB_CHUNK) {
        const int k1 = min(k0 + WB_CHUNK, terms);
#define START(r) float16 u##r = 0.0f, v##r = 0.0f;
        ROWS(START)
#undef START
        for (int k = k0; k < k1;) {
            const int count = min(run - c, k1 - k);
#define POINT(r)                                                          \
    const int source##r = conv_source(&s, top[r], left[r], ky, kx);       \
    global const float *a##r = (source##r < 0 ? zeros : base[r] + source##r * s.x_pixel) + c;
            ROWS(POINT)
#undef POINT
            for (int i = 0; i < count; i++, b += WB_PANEL) {
                const float16 b0 = vload16(0, b), b1 = vload16(1, b);
#define STEP(r)                                    \
    u##r = fma((float16)(a##r[i]), b0, u##r);      \
    v##r = fma((float16)(a##r[i]), b1, v##r);
                ROWS(STEP)
#undef STEP
            }
            k += count;
            c += count;
            if (c == run) {
                c = 0;
                if (++kx == columns_of_taps) {
                    kx = 0;
                    ky++;
                }
            }
        }
        if (k0 == 0) {
#define KEEP(r) total[r][0] = u##r, total[r][1] = v##r;
            ROWS(KEEP)
#undef KEEP
        } else {
#define JOIN(r) total[r][0] = total[r][0] + u##r, total[r][1] = total[r][1] + v##r;
            ROWS(JOIN)
#undef JOIN
        }
    }

    const int inside = (panel - group * group_panels) * WB_PANEL, columns = min(group_columns - inside, WB_PANEL);
    const int column = group * s.y_group + inside;
    for (int r = 0; r < 8 && row0 + r < rows; r++) {
        const int at = (row0 + r) * s.y_pixel + column;
        if (columns == WB_PANEL) {
            for (int part = 0; part < 2; part++) {
                float16 t = total[r][part];
                if (s.bias) t = t + vload16(part, bias + panel * WB_PANEL);
                if (s.residual) t = t + vload16(part, residual + at);
                if (s.clip) {
                    t = select(t, (float16)(s.lo), t < (float16)(s.lo));
                    t = select(t, (float16)(s.hi), t > (float16)(s.hi));
                }
                vstore16(t, part, y + at);
            }
        } else {
            float t[WB_PANEL];
            vstore16(total[r][0], 0, t);
            vstore16(total[r][1], 1, t);
            for (int j = 0; j < columns; j++)
                y[at + j] = conv_finish(&s, t[j], bias, panel * WB_PANEL + j, residual, at + j);
        }
    }
}
#endif

#else // GPU shape

// A work-group computes a tile of WB_TILE x WB_TILE outputs, each work-item 8 x 8 of them: four neighbouring rows in
// each half of the tile, columns likewise, so that local memory is read four floats at a time. Each step brings STEP
// terms into local memory; the next ones are on their way from global memory meanwhile.
// Work: dimension 0 counts work-items within tiles of columns, dimension 1 within tiles of rows.
#define STEP 16
#ifdef WB_ROLLED // a CPU that runs this shape for a test would spend its time compiling
#define UNROLLED _Pragma("nounroll")
#else
#define UNROLLED _Pragma("unroll")
#endif
#define ITEMS (WB_TILE / 8)
#define FOURS (WB_TILE / 4)
#define LOADS (FOURS * STEP / (ITEMS * ITEMS)) // float4 loads of each operand by each work-item and step

// One term of all 8 x 8 sums.
#define TERM(k)                                                                    \
    {                                                                              \
        const float4 a0 = la[k][ty], a1 = la[k][FOURS / 2 + ty];                   \
        const float4 b0 = lb[k][tx], b1 = lb[k][FOURS / 2 + tx];                   \
        const float a8[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};      \
        const float b8[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};      \
        UNROLLED for (int i = 0; i < 8; i++)                                       \
            UNROLLED for (int j = 0; j < 8; j++)                                   \
                acc[i][j] = fma(a8[i], b8[j], acc[i][j]);                          \
    }

#ifdef WB_KERNEL_convolution
kernel __attribute__((reqd_work_group_size(ITEMS, ITEMS, 1))) void convolution(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict residual, global const float *restrict zeros, global float *restrict y, wb_conv s)
{
    // One more float4 in each row of la spreads the transposed stores over the banks.
    local float4 la[STEP][FOURS + 1], lb[STEP][FOURS];
    local int tops[WB_TILE], lefts[WB_TILE], bases[WB_TILE];

    const int channels = s.c / s.groups, terms = s.kh * s.kw * channels;
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int group_tiles = (group_columns + WB_TILE - 1) / WB_TILE;
    const int group = (int)get_group_id(0) / group_tiles, tile = (int)get_group_id(0) - group * group_tiles;
    const int pixels = s.oh * s.ow, rows = s.n * pixels, row0 = (int)get_group_id(1) * WB_TILE;
    const int tx = (int)get_local_id(0), ty = (int)get_local_id(1), item = ty * ITEMS + tx;

    for (int r = item; r < WB_TILE; r += ITEMS * ITEMS) {
        const int row = row0 + r, image = row / pixels, pixel = row - image * pixels;
        bases[r] = image * s.h * s.w * s.x_pixel + group * s.x_group;
        tops[r] = row < rows ? pixel / s.ow * s.stride_h - s.pad_h : -0x40000000;
        lefts[r] = pixel % s.ow * s.stride_w - s.pad_w;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    // This work-item brings in terms k ... k + 3 of every (ITEMS * ITEMS / 4)th row, and four columns of every
    // (STEP / LOADS)th term.
    const int my_k = item % 4 * 4, my_row = item / 4;
    const int my_column = item % FOURS, my_term = item / FOURS;
    const int my_panel = tile * (WB_TILE / WB_PANEL) + my_column * 4 / WB_PANEL;
    global const float4 *b =
        (global const float4 *)(weights + (group * group_panels + my_panel) * terms * WB_PANEL + my_column * 4 % WB_PANEL);
    // Four channels lie in one tap and at an address that is a multiple of 16 bytes.
    const bool whole_vectors = channels % 4 == 0 && s.x_pixel % 4 == 0 && s.x_group % 4 == 0;

    float4 next_a[LOADS], next_b[LOADS];
    float acc[8][8], total[8][8];
    UNROLLED
    for (int i = 0; i < 8; i++)
        UNROLLED
        for (int j = 0; j < 8; j++) acc[i][j] = total[i][j] = 0.0f;

    for (int k0 = -STEP; k0 < terms; k0 += STEP) {
        const int k_next = k0 + STEP;
        if (k_next < terms) {
            if (whole_vectors) {
                const int k = k_next + my_k, tap = k / channels, c = k - tap * channels;
                const int ky = tap / s.kw, kx = tap - ky * s.kw;
                UNROLLED
                for (int l = 0; l < LOADS; l++) {
                    const int r = my_row + l * (ITEMS * ITEMS / 4);
                    const int source = k < terms ? conv_source(&s, tops[r], lefts[r], ky, kx) : -1;
                    next_a[l] = source < 0 ? (float4)(0.0f) : *(global const float4 *)(x + bases[r] + source * s.x_pixel + c);
                }
            } else {
                UNROLLED
                for (int l = 0; l < LOADS; l++) {
                    const int r = my_row + l * (ITEMS * ITEMS / 4);
                    float v[4];
                    UNROLLED
                    for (int i = 0; i < 4; i++) {
                        const int k = k_next + my_k + i, tap = k / channels, c = k - tap * channels, ky = tap / s.kw;
                        const int source = k < terms ? conv_source(&s, tops[r], lefts[r], ky, tap - ky * s.kw) : -1;
                        v[i] = source < 0 ? 0.0f : x[bases[r] + source * s.x_pixel + c];
                    }
                    next_a[l] = (float4)(v[0], v[1], v[2], v[3]);
                }
            }
            UNROLLED
            for (int l = 0; l < LOADS; l++) {
                const int k = k_next + my_term + l * (STEP / LOADS);
                next_b[l] = k < terms && my_panel < group_panels ? b[k * (WB_PANEL / 4)] : (float4)(0.0f);
            }
        }
        if (k0 >= 0) {
            // Terms past the last are not added, not even as zeros: that could turn -0 into +0.
            if (k0 + STEP <= terms) {
                UNROLLED
                for (int k = 0; k < STEP; k++) TERM(k)
            } else {
                _Pragma("nounroll")
                for (int k = 0; k < terms - k0; k++) TERM(k)
            }
            if (k_next % WB_CHUNK == 0 || k_next >= terms) {
                UNROLLED
                for (int i = 0; i < 8; i++)
                    UNROLLED
                    for (int j = 0; j < 8; j++) {
                        total[i][j] = k0 < WB_CHUNK ? acc[i][j] : total[i][j] + acc[i][j];
                        acc[i][j] = 0.0f;
                    }
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (k_next < terms) {
            UNROLLED
            for (int l = 0; l < LOADS; l++) {
                const int r = my_row + l * (ITEMS * ITEMS / 4);
                local float *column = (local float *)&la[my_k][0] + r;
                column[0] = next_a[l].x;
                column[(FOURS + 1) * 4] = next_a[l].y;
                column[(FOURS + 1) * 8] = next_a[l].z;
                column[(FOURS + 1) * 12] = next_a[l].w;
                lb[my_term + l * (STEP / LOADS)][my_column] = next_b[l];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }

    UNROLLED
    for (int i = 0; i < 8; i++) {
        const int row = row0 + i / 4 * (WB_TILE / 2) + ty * 4 + i % 4;
        if (row < rows) {
            UNROLLED
            for (int j = 0; j < 8; j++) {
                const int inside = tile * WB_TILE + j / 4 * (WB_TILE / 2) + tx * 4 + j % 4;
                if (inside < group_columns) {
                    const int at = row * s.y_pixel + group * s.y_group + inside;
                    y[at] = conv_finish(&s, total[i][j], bias, group * group_panels * WB_PANEL + inside, residual, at);
                }
            }
        }
    }
}
#endif

#endif
