// Convolutions whose groups are narrow: depthwise (one channel in a group) and grouped (4, 8 or 16 channels in a group, as
// many of output as of input, and whole panels of groups), in two shapes: one for CPUs, one for GPUs.
//
// The order of the terms is the contract of convolution.cl. Depthwise weights are [tap][c]. Grouped weights are
// [panel][tap][i][32]: a panel holds the columns of several groups, and i counts the channels of each.

#ifdef WB_CPU_SHAPE

// One work-item computes all channels of 8 neighbouring output pixels, sixteen at a time. For every tap and pixel there is a
// pointer to what is read, which serves all channels; pointers are found for RUN taps at a time.
#define RUN 64
#define EACH_ROW WB_EACH(r, 8)

// `table[(tap - tap0) * 8 + r]` for taps [tap0, tap1) of pixels row0 + r; pixels that are not there read zeros.
WB_FN void tap_pointers(
    const wb_conv *s, global const float *x, global const float *zeros, int row0, int tap0, int tap1,
    global const float **table)
{
    wb_window window = wb_window_of(s, row0);
    for (int r = 0; r < 8; r++, window = wb_window_after(s, window)) {
        global const float *image = x + window.image * s->d * s->h * s->w * s->x_pixel;
        int ky = tap0 / s->kw, kx = tap0 - ky * s->kw, kz = 0;
        if (WB_AXES == 3) kz = ky / s->kh, ky -= kz * s->kh;
        for (int tap = tap0; tap < tap1; tap++) {
            const int source = window.image < s->n ? wb_source(s, window.front, window.top, window.left, kz, ky, kx) : -1;
            table[(tap - tap0) * 8 + r] = source < 0 ? zeros : image + source * s->x_pixel;
            if (++kx == s->kw) kx = 0, ky++;
            if (WB_AXES == 3 && ky == s->kh) ky = 0, kz++;
        }
    }
}

// The sums of pixels row0 + r, channels c ... c + 15, on their way to `y`.
#define FINISH                                                                                                             \
    {                                                                                                                      \
        const int at = row0 * s.y_pixel + c, count = rows - row0;                                                          \
        if (count >= 8) FINISH_FIRST(8)                                                                                    \
        else FINISH_FIRST(count)                                                                                           \
    }
#define FINISH_FIRST(count)                                                                                                \
    {                                                                                                                      \
        WB_EPILOGUE(                                                                                                       \
            float16, s, EACH_ROW, sum[r], WB_LOAD(bias + c),                                                               \
            WB_LOAD(residual + at + (r < (count) ? r : 0) * s.y_pixel))                                                    \
        EACH_ROW if (r < (count)) WB_STORE(sum[r], y + at + r * s.y_pixel);                                                \
    }

// The usual depthwise kernels: WB_LINE (3 or 5) pixels wide, at most WB_MOST_ROWS kernel rows in all, WB_STRIDE 1 or 2, at least 16
// channels. A tile is 8 neighbours in a line of the output, whose windows overlap: each input pixel is loaded once and multiplied by
// all the taps that meet it; an output still gets its terms tap by tap. Work: dimension 0 counts parts of a line, dimension 1 lines.
#if defined(WB_KERNEL_depthwise) && defined(WB_LINE)
#define INPUTS (7 * WB_STRIDE + WB_LINE)
kernel void depthwise(
    global const float *x, global const float *weights, global const float *bias, global const float *residual,
    global const float *zeros, global float *y, wb_conv s)
{
    const int line = (int)get_global_id(1), kernel_rows = (WB_AXES == 3 ? s.kd : 1) * s.kh;
    const wb_window window = wb_window_of(&s, line * s.ow);
    const int parts = (int)get_global_size(0), part = (int)get_global_id(0), tiles = (s.ow + 7) / 8;
    for (int tile = tiles * part / parts; tile < tiles * (part + 1) / parts; tile++) {
        const int ox = tile * 8, row0 = line * s.ow + ox, rows = (line + 1) * s.ow, left = ox * WB_STRIDE - s.pad_w;
        // Input pixel j of each kernel row's, or zeros where it is padding.
        global const float *table[WB_MOST_ROWS * INPUTS];
        for (int k = 0, kz = 0, ky = 0; k < kernel_rows; k++, ky++) {
            if (WB_AXES == 3 && ky == s.kh) ky = 0, kz++;
            const int source = wb_source(&s, window.front, window.top, 0, kz, ky, 0); // the first pixel of the row
            global const float *from = x + (window.image * s.d * s.h * s.w + source + left) * s.c;
            for (int j = 0; j < INPUTS; j++)
                table[k * INPUTS + j] = source >= 0 && left + j >= 0 && left + j < s.w ? from + j * s.c : zeros;
        }
        for (int next = 0; next < s.c; next += 16) {
            const int c = min(next, s.c - 16); // the last vector may cover some channels once more
            float16 sum[8];
            EACH_ROW sum[r] = 0.0f;
            global const float *w = weights + c;
            for (int k = 0; k < kernel_rows; k++) {
                float16 weight[WB_LINE];
                WB_EACH(kx, WB_LINE) weight[kx] = vload16(0, w + kx * s.c);
                w += WB_LINE * s.c;
                WB_EACH(j, INPUTS)
                {
                    const float16 pixel = vload16(0, table[k * INPUTS + j] + c);
                    WB_EACH(kx, WB_LINE)
                    {
                        const int r = (j - kx) / WB_STRIDE;
                        if (j >= kx && (j - kx) % WB_STRIDE == 0 && r < 8) sum[r] = fma(pixel, weight[kx], sum[r]);
                    }
                }
            }
            FINISH
        }
    }
}
#elif defined(WB_KERNEL_depthwise)
kernel void depthwise(
    global const float *x, global const float *weights, global const float *bias, global const float *residual,
    global const float *zeros, global float *y, wb_conv s)
{
    const int row0 = (int)get_global_id(0) * 8, rows = s.n * s.od * s.oh * s.ow, taps = s.kd * s.kh * s.kw;
    global const float *table[RUN * 8];
    for (int next = 0; next < s.c && s.c >= 16; next += 16) {
        const int c = min(next, s.c - 16); // the last vector may cover some channels once more
        float16 total[8], sum[8];
        EACH_ROW sum[r] = 0.0f;
        for (int tap0 = 0; tap0 < taps; tap0 += RUN) {
            const int run = min(taps - tap0, RUN);
            if (next == 0 || taps > RUN) tap_pointers(&s, x, zeros, row0, tap0, tap0 + run, table);
            if (tap0 > 0 && tap0 % WB_CHUNK == 0)
                EACH_ROW total[r] = tap0 == WB_CHUNK ? sum[r] : total[r] + sum[r], sum[r] = 0.0f;
            for (int tap = 0; tap < run; tap++) {
                const float16 w = vload16(0, weights + (tap0 + tap) * s.c + c);
                EACH_ROW sum[r] = fma(vload16(0, table[tap * 8 + r] + c), w, sum[r]);
            }
        }
        if (taps > WB_CHUNK) EACH_ROW sum[r] = total[r] + sum[r];
        FINISH
    }
    // Fewer channels than a vector has.
    for (int c = 0; c < s.c && s.c < 16; c++)
        for (int row = row0; row < min(row0 + 8, rows); row++) {
            const wb_window window = wb_window_of(&s, row);
            global const float *image = x + window.image * s.d * s.h * s.w * s.x_pixel;
            float total = 0.0f, sum = 0.0f;
            for (int tap = 0, kz = 0, ky = 0, kx = 0; tap < taps; tap++) {
                if (tap > 0 && tap % WB_CHUNK == 0) {
                    total = tap == WB_CHUNK ? sum : total + sum;
                    sum = 0.0f;
                }
                const int source = wb_source(&s, window.front, window.top, window.left, kz, ky, kx);
                sum = fma(source < 0 ? 0.0f : image[source * s.x_pixel + c], weights[tap * s.c + c], sum);
                if (++kx == s.kw) kx = 0, ky++;
                if (WB_AXES == 3 && ky == s.kh) ky = 0, kz++;
            }
            const int at = row * s.y_pixel + c;
            y[at] = wb_conv_finish(&s, taps > WB_CHUNK ? total + sum : sum, bias + c, residual + at);
        }
}
#endif

// WB_WIDTH: channels in a group. Term (tap, i) is channel i of each group, spread over the group's columns.
#ifdef WB_KERNEL_grouped
#if WB_WIDTH == 4
#define TERMS(F) F(0, s000044448888cccc) F(1, s111155559999dddd) F(2, s22226666aaaaeeee) F(3, s33337777bbbbffff)
#elif WB_WIDTH == 8
#define TERMS(F)                                                                                              \
    F(0, s0000000088888888) F(1, s1111111199999999) F(2, s22222222aaaaaaaa) F(3, s33333333bbbbbbbb)           \
    F(4, s44444444cccccccc) F(5, s55555555dddddddd) F(6, s66666666eeeeeeee) F(7, s77777777ffffffff)
#else
#define TERMS(F)                                                                                              \
    F(0, s0000000000000000) F(1, s1111111111111111) F(2, s2222222222222222) F(3, s3333333333333333)           \
    F(4, s4444444444444444) F(5, s5555555555555555) F(6, s6666666666666666) F(7, s7777777777777777)           \
    F(8, s8888888888888888) F(9, s9999999999999999) F(10, saaaaaaaaaaaaaaaa) F(11, sbbbbbbbbbbbbbbbb)         \
    F(12, scccccccccccccccc) F(13, sdddddddddddddddd) F(14, seeeeeeeeeeeeeeee) F(15, sffffffffffffffff)
#endif
kernel void grouped(
    global const float *x, global const float *weights, global const float *bias, global const float *residual,
    global const float *zeros, global float *y, wb_conv s)
{
    const int row0 = (int)get_global_id(0) * 8, rows = s.n * s.od * s.oh * s.ow, taps = s.kd * s.kh * s.kw;
    const int chunk = WB_CHUNK / WB_WIDTH; // in taps
    global const float *table[RUN * 8];
    for (int c = 0; c < s.oc; c += 16) {
        global const float *w = weights + c / WB_PANEL * taps * WB_WIDTH * WB_PANEL + c % WB_PANEL;
        float16 sum[8];
        for (int tap0 = 0; tap0 < taps; tap0 += chunk) {
            const int run = min(taps - tap0, chunk);
            if (c == 0 || taps > chunk) tap_pointers(&s, x, zeros, row0, tap0, tap0 + run, table);
            float16 part[8];
            EACH_ROW part[r] = 0.0f;
            for (int tap = 0; tap < run; tap++, w += WB_WIDTH * WB_PANEL) {
                float16 a[8];
                EACH_ROW a[r] = vload16(0, table[tap * 8 + r] + c);
#define TERM(i, SPREAD)                                         \
    {                                                           \
        const float16 b = vload16(0, w + i * WB_PANEL);         \
        EACH_ROW part[r] = fma(a[r].SPREAD, b, part[r]);        \
    }
                TERMS(TERM)
            }
            EACH_ROW sum[r] = tap0 == 0 ? part[r] : sum[r] + part[r];
        }
        FINISH
    }
}
#endif

#else // GPU shape

// One work-item computes one output; neighbours are neighbouring channels.
#if defined(WB_KERNEL_depthwise) || defined(WB_KERNEL_grouped)
#ifdef WB_KERNEL_depthwise
#define WB_WIDTH 1
#define KERNEL depthwise
#else
#define KERNEL grouped
#endif
kernel void KERNEL(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict residual, global const float *restrict zeros, global float *restrict y, wb_conv s)
{
    const int item = (int)get_global_id(0), row = item / s.oc, c = item - row * s.oc, at = row * s.y_pixel + c;
    const wb_window window = wb_window_of(&s, row);
    if (window.image >= s.n) return;
    const int terms = s.kd * s.kh * s.kw * WB_WIDTH;
    global const float *image = x + window.image * s.d * s.h * s.w * s.x_pixel + c / WB_WIDTH * WB_WIDTH;
#if WB_WIDTH == 1
    global const float *w = weights + c;
    const int next = s.c;
#else
    global const float *w = weights + c / WB_PANEL * terms * WB_PANEL + c % WB_PANEL;
    const int next = WB_PANEL;
#endif
    float total = 0.0f, sum = 0.0f;
    int k = 0;
    for (int kz = 0; kz < (WB_AXES == 3 ? s.kd : 1); kz++)
        for (int ky = 0; ky < s.kh; ky++)
            for (int kx = 0; kx < s.kw; kx++) {
                // WB_WIDTH divides a chunk.
                if (k > 0 && k % WB_CHUNK == 0) {
                    total = k == WB_CHUNK ? sum : total + sum;
                    sum = 0.0f;
                }
                const int source = wb_source(&s, window.front, window.top, window.left, kz, ky, kx);
                global const float *from = source < 0 ? zeros : image + source * s.x_pixel;
                for (int i = 0; i < WB_WIDTH; i++, k++, w += next) sum = fma(from[i], *w, sum);
            }
    y[at] = wb_conv_finish(&s, terms > WB_CHUNK ? total + sum : sum, bias + c, residual + at);
}
#endif

#endif
