// Convolution, and with it every matrix product with constant weights, in two shapes: one for CPUs, one for GPUs.
//
// The contract, kept by both shapes and by the C loops (Sources/CMicrokernels/convolution.inc):
//   The K = kd * kh * kw * c / groups terms of an output are counted in the order kernel depth, kernel row, kernel column,
//   input channel.
//   Each run of WB_CHUNK terms starts at +0 and adds its terms in that order by fma(input, weight, sum). A term on
//   padding is there, with the input +0. The sums of the chunks are added in ascending order, beginning with the
//   first. Then come bias, residual and clip, in this order, each rounded.
// Activations are channels-last. Weights are packed in panels of 32 output channels, [group][panel][K][32], biases
// likewise, with zeros where a group's last panel is not full. Narrow groups have kernels of their own (depthwise.cl).

#ifdef WB_CPU_SHAPE

// One work-item computes a tile of WB_TILE_ROWS rows (output pixels), 8, 7 or 4, by one panel of 32 columns, in two float16
// sums a row.
// Work: dimension 0 counts tiles, dimension 1 panels. `zeros` holds as many zeros as a kernel row reads.
#define EACH_ROW WB_EACH(r, WB_TILE_ROWS)
#define EACH_SUM EACH_ROW WB_EACH(v, 2)

// Asks for memory that is needed soon. OpenCL's own prefetch() does nothing on PoCL, and what does something is no OpenCL: the host
// says where the compiler is known to take it.
#ifdef WB_PREFETCH
#define SOON(p) __builtin_prefetch((const void *)(size_t)(p), 0, 3)
#define SOON_WRITTEN(p) __builtin_prefetch((const void *)(size_t)(p), 1, 3)
#else
#define SOON(p)
#define SOON_WRITTEN(p)
#endif

#ifdef WB_KERNEL_convolution
kernel void convolution(
    global const float *x, global const float *weights, global const float *bias, global const float *residual,
    global const float *zeros, global float *y, wb_conv s)
{
    const int channels = s.c / s.groups, taps = s.kd * s.kh * s.kw, terms = taps * channels;
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int rows = s.n * s.od * s.oh * s.ow;

    // Work-items run in the order of their places, dimension 0 first. So within a group, places go through blocks of
    // tiles whose input stays in the second-level cache, for every panel through the tiles of the block.
    const int tiles = (int)get_global_size(0), block = clamp(12288 / (taps > 1 ? 2 * channels : channels), 2, 16);
    int place = (int)get_global_id(1) * tiles + (int)get_global_id(0);
    const int group = place / (tiles * group_panels);
    place -= group * tiles * group_panels;
    const int first_tile = place / (block * group_panels) * block;
    place -= first_tile * group_panels;
    const int block_tiles = min(block, tiles - first_tile), inside_panel = place / block_tiles;
    const int inside_tile = place - inside_panel * block_tiles, row0 = (first_tile + inside_tile) * WB_TILE_ROWS;
    const int panel = group * group_panels + inside_panel;

    const int inside = inside_panel * WB_PANEL, columns = min(group_columns - inside, WB_PANEL);
    const int column = wb_group_at(&s, group, s.y_outer, s.y_group) + inside;
    const bool half_panel = columns <= WB_PANEL / 2; // the other half is zeros

    // Rows past the last are the last once more.
    const int last = min(WB_TILE_ROWS, rows - row0) - 1;

    // Rows whose windows lie in a line and clear of padding read at equal distances. Those of others are found tap by tap.
    global const float *origin = x + s.x0 + wb_group_at(&s, group, s.x_outer, s.x_group);
    int distance = s.stride_w * s.x_pixel, front[WB_TILE_ROWS], top[WB_TILE_ROWS], left[WB_TILE_ROWS];
    global const float *base[WB_TILE_ROWS];
    // (A gradient's phase may have a single tap and pads.)
    bool clear = taps == 1 && s.stride_d == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_d == 0 && s.pad_h == 0
        && s.pad_w == 0 && s.od == s.d && s.oh == s.h && s.ow == s.w;
    bool runs = s.x_pixel == channels && s.dilation_w == 1;
    if (clear) {
        origin += row0 * s.x_pixel;
    } else {
        wb_window window = wb_window_of(&s, row0);
        const int last_left = window.left + last * s.stride_w;
        clear = last_left < s.ow * s.stride_w - s.pad_w && wb_is_clear(&s, window, last_left);
        if (clear) {
            origin += (((window.image * s.d + window.front) * s.h + window.top) * s.w + window.left) * s.x_pixel;
        } else {
            for (int r = 0; r < WB_TILE_ROWS; r++) {
                base[r] = origin + window.image * s.d * s.h * s.w * s.x_pixel;
                front[r] = window.front, top[r] = window.top, left[r] = window.left;
                runs = runs && left[r] >= 0 && left[r] + s.kw <= s.w;
                if (r < last) window = wb_window_after(&s, window);
            }
        }
    }

    // Where no window touches the left or right padding, and pixels lie side by side, the taps of one kernel row are
    // one run of kw * c channels, in the same order.
    const int run = runs ? s.kw * channels : channels, columns_of_taps = runs ? 1 : s.kw;

    // How far on the next tile's input lies, while it is not in the cache. A short tile ends before outputs that it asks
    // for are there, so it asks for those of the next.
    const int ahead = inside_panel == 0 && taps == 1 ? WB_TILE_ROWS * s.stride_w * s.x_pixel : 0;
    const int asked_from = terms < 128 ? WB_TILE_ROWS : 0;
    int asked = 0;

    // While the tiles of a block use a panel, each fetches its share of the next, `step` floats of 32 with each term; else
    // the first tile that uses it would wait for each line. With few terms, to ask costs more than to wait.
    const int step = terms < 128 || block_tiles == 1 ? 0 : (WB_PANEL + block_tiles - 1) / block_tiles;
    global const float *soon = weights + (panel + 1) * terms * WB_PANEL + inside_tile * step * terms;

    float16 total[WB_TILE_ROWS][2], sum[WB_TILE_ROWS][2];
    EACH_SUM sum[r][v] = 0.0f;
    global const float *b = weights + panel * terms * WB_PANEL;
    int kz = 0, ky = 0, kx = 0, c = 0;
    for (int k0 = 0; k0 < terms; k0 += WB_CHUNK) {
        const int k1 = min(k0 + WB_CHUNK, terms);
        for (int k = k0; k < k1;) {
            const int count = min(run - c, k1 - k);
            global const float *a[WB_TILE_ROWS];
            if (clear) {
                global const float *tap = origin + c
                    + ((kz * s.dilation_d * s.h + ky * s.dilation_h) * s.w + kx * s.dilation_w) * s.x_pixel;
                EACH_ROW a[r] = tap + min(r, last) * distance;
            } else {
                EACH_ROW
                {
                    const int source = wb_source(&s, front[r], top[r], left[r], kz, ky, kx);
                    a[r] = (source < 0 ? zeros : base[r] + source * s.x_pixel) + c;
                }
            }
            // A little of what comes next every 16 terms, so that requests do not come in a crowd.
            for (int i0 = 0; i0 < count; i0 += 16) {
                if (ahead) EACH_ROW SOON(a[r] + i0 + ahead);
                for (int q = 0; q < 2 && asked < WB_TILE_ROWS && k1 == terms; q++, asked++) {
                    const int at = (row0 + asked + asked_from) * s.y_pixel + column;
                    SOON_WRITTEN(y + at);
                    SOON_WRITTEN(y + at + 16);
                    if (s.residual) {
                        SOON(residual + at);
                        SOON(residual + at + 16);
                    }
                }
                const int i1 = min(i0 + 16, count);
                if (half_panel) {
                    for (int i = i0; i < i1; i++, b += WB_PANEL) {
                        SOON(b + 8 * WB_PANEL);
                        const float16 w = vload16(0, b);
                        EACH_ROW sum[r][0] = fma((float16)(a[r][i]), w, sum[r][0]);
                    }
                    continue;
                }
                for (int i = i0; i < i1; i++, b += WB_PANEL) {
                    SOON(soon);
                    soon += step;
                    SOON(b + 8 * WB_PANEL);
                    SOON(b + 8 * WB_PANEL + 16);
                    const float16 w[2] = {vload16(0, b), vload16(1, b)};
                    EACH_SUM sum[r][v] = fma((float16)(a[r][i]), w[v], sum[r][v]);
                }
            }
            k += count;
            c += count;
            if (c == run) {
                c = 0;
                if (++kx == columns_of_taps) {
                    kx = 0;
                    ky++;
                    if (WB_AXES == 3 && ky == s.kh) ky = 0, kz++;
                }
            }
        }
        if (k0 > 0) EACH_SUM sum[r][v] = total[r][v] + sum[r][v];
        if (k1 < terms) EACH_SUM total[r][v] = sum[r][v], sum[r][v] = 0.0f;
    }

#define AT(r) ((row0 + min(r, last)) * s.y_pixel + column)
    bias += panel * WB_PANEL;
    if (columns < 16) {
        EACH_ROW
        {
            float t[16];
            vstore16(sum[r][0], 0, t);
            for (int j = 0; j < columns && r <= last; j++)
                y[AT(r) + j] = wb_conv_finish(&s, t[j], bias + j, residual + AT(r) + j);
        }
        return;
    }
    // Where the second vector of a row begins: in a panel that is not full it covers some columns once more.
    const int second = columns - 16;
    if (columns < WB_PANEL)
        EACH_ROW
        {
            float t[WB_PANEL];
            vstore16(sum[r][0], 0, t);
            vstore16(sum[r][1], 1, t);
            sum[r][1] = vload16(0, t + second);
        }
    WB_EPILOGUE(
        float16, s, EACH_SUM, sum[r][v], WB_LOAD(bias + v * second), WB_LOAD(residual + AT(r) + v * second))
    EACH_SUM WB_STORE(sum[r][v], y + AT(r) + v * second);
}
#endif

#else // GPU shape

// A work-group computes WB_ROWS x WB_COLUMNS outputs, each work-item 8 x 8 of them: four neighbouring rows in each half
// of the rows, columns likewise, so that local memory is read four floats at a time. Local memory holds STEP terms of the
// operands twice: one copy is read while the next terms, which were on their way from global memory meanwhile, go into
// the other; so one barrier a step is enough. Only the sums of the chunk at hand are in registers: the sums of the
// chunks before wait in `y`, where each work-item reads and writes its own outputs and nobody else's.
// With WB_SPLIT a work-group computes one chunk, and `y` is [chunk][row][channel]; the kernel join_chunks adds them up.
// Work: work-groups of ITEMS; dimension 0 counts tiles of columns, 1 tiles of rows, 2 chunks.
#define STEP 8
#define ITEMS (WB_ROWS * WB_COLUMNS / 64)

#ifdef WB_KERNEL_convolution
#define ROW_FOURS (WB_ROWS / 4)
#define COLUMN_FOURS (WB_COLUMNS / 4)
#define A_LOADS (WB_ROWS * STEP / 4 / ITEMS) // float4 loads of the input by each work-item and step
#define B_LOADS (WB_COLUMNS * STEP / 4 / ITEMS)
#define WIDTH (WB_COLUMNS < 64 ? WB_COLUMNS / 8 : 8)

// To the tap and channel `by` terms further on.
#define ADVANCE(by)                     \
    for (c += by; c >= channels;) {     \
        c -= channels;                  \
        if (++kx == s.kw) kx = 0, ky++; \
        if (WB_AXES == 3 && ky == s.kh) ky = 0, kz++; \
    }

// One term of all 8 x 8 sums. Terms 4 ... 7 of the input lie swapped by four fours, so that the stores of a warp, which
// go down two columns of local memory, meet all its banks.
#define TERM(k)                                                                                        \
    {                                                                                                  \
        const float4 a0 = la[copy][k][ty ^ (k & 4)], a1 = la[copy][k][(ROW_FOURS / 2 + ty) ^ (k & 4)]; \
        const float4 b0 = lb[copy][k][tx], b1 = lb[copy][k][COLUMN_FOURS / 2 + tx];                    \
        const float a[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};                           \
        WB_EACH(i, 8) {                                                                                \
            sum[i][0] = fma((float4)(a[i]), b0, sum[i][0]);                                            \
            sum[i][1] = fma((float4)(a[i]), b1, sum[i][1]);                                            \
        }                                                                                              \
    }

// A chunk's sums of four outputs join those of the chunks before, which are in `y`; the last chunk's are finished. All four
// exist and lie at a multiple of 16 bytes if they are `whole`, else the first `count` exist.
WB_FN void conv_keep(
    const wb_conv *s, float4 sum, bool first, bool last, bool whole, int count, global const float *bias,
    global const float *residual, global float *y)
{
    if (whole) {
        float4 t = sum;
        if (!first) t = *(global float4 *)y + t;
#ifndef WB_SPLIT
        if (last) WB_EPILOGUE(float4, *s, , t, *(global const float4 *)bias, *(global const float4 *)residual)
#endif
        *(global float4 *)y = t;
    } else {
        const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
        WB_EACH(j, 4)
            if (j < count) {
                float t = first ? sums[j] : y[j] + sums[j];
#ifndef WB_SPLIT
                if (last) t = wb_conv_finish(s, t, bias + j, residual + j);
#endif
                y[j] = t;
            }
    }
}

kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void convolution(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict residual, global const float *restrict zeros, global float *restrict y, wb_conv s)
{
    local float4 la[2][STEP][ROW_FOURS], lb[2][STEP][COLUMN_FOURS];
    local int front[WB_AXES == 3 ? WB_ROWS : 1], top[WB_ROWS], left[WB_ROWS], base[WB_ROWS];
#define FRONT(r) front[WB_AXES == 3 ? r : 0]
    const int channels = s.c / s.groups, terms = s.kd * s.kh * s.kw * channels;
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int group_tiles = (group_columns + WB_COLUMNS - 1) / WB_COLUMNS;
    const int group = (int)get_group_id(0) / group_tiles, tile = (int)get_group_id(0) - group * group_tiles;
    const int rows = s.n * s.od * s.oh * s.ow, row0 = (int)get_group_id(1) * WB_ROWS;
    // Neighbouring work-items, WIDTH by as many rows as that makes of a warp, share what they read.
    const int item = (int)get_local_id(0);
    const int tx = item % WIDTH + item / (WIDTH * WB_ROWS / 8) * WIDTH, ty = item / WIDTH % (WB_ROWS / 8);

#ifdef WB_SPLIT
    const int first = (int)get_group_id(2) * WB_CHUNK, last = min(first + WB_CHUNK, terms);
    y += (int)get_group_id(2) * rows * s.oc;
#else
    const int first = 0, last = terms;
#endif

    // The pixel that each row's window starts at.
    const int x_group = s.x0 + wb_group_at(&s, group, s.x_outer, s.x_group);
    const int y_group = wb_group_at(&s, group, s.y_outer, s.y_group);
    for (int r = item; r < WB_ROWS; r += ITEMS) {
        const wb_window window = wb_window_of(&s, row0 + r);
        base[r] = window.image * s.d * s.h * s.w * s.x_pixel + x_group;
        if (WB_AXES == 3) FRONT(r) = window.front;
        top[r] = row0 + r < rows ? window.top : -0x40000000;
        left[r] = window.left;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    // This work-item brings in four terms of every (ITEMS / 2)th row, beginning with my_row, and four columns of every
    // (STEP / B_LOADS)th term. What lies past the last term is -0 times +0, which leaves every sum as it is; +0 would
    // turn a sum of -0 into +0.
    const int my_k = item % 2 * 4, my_row = item / 2, my_column = item % COLUMN_FOURS, my_term = item / COLUMN_FOURS;
    // The tap and channel of its next term.
    int kx = (first + my_k) / channels, c = first + my_k - kx * channels, ky = kx / s.kw, kz = 0;
    kx -= ky * s.kw;
    if (WB_AXES == 3) kz = ky / s.kh, ky -= kz * s.kh;
    const int my_panel = tile * (WB_COLUMNS / WB_PANEL) + my_column * 4 / WB_PANEL;
    global const float4 *b =
        (global const float4 *)(weights + (group * group_panels + my_panel) * terms * WB_PANEL + my_column * 4 % WB_PANEL);
    // Four channels lie in one tap and at an address that is a multiple of 16 bytes; so do four outputs.
    const bool whole_inputs = channels % 4 == 0 && s.x_pixel % 4 == 0 && s.x_group % 4 == 0 && (s.x0 | s.x_outer) % 4 == 0;
    const bool whole_outputs = group_columns % 4 == 0 && s.y_pixel % 4 == 0 && s.y_group % 4 == 0 && s.y_outer % 4 == 0;

    float4 next_a[A_LOADS], next_b[B_LOADS];
    float4 sum[8][2];
    WB_EACH(i, 8) sum[i][0] = sum[i][1] = 0.0f;

    int copy = 1;
    for (int k0 = first - STEP; k0 < last; k0 += STEP) {
        const int k_next = k0 + STEP;
        if (k_next < last) {
            if (whole_inputs) {
                WB_EACH(l, A_LOADS) {
                    const int r = my_row + l * (ITEMS / 2);
                    const bool real = k_next + my_k < last;
                    const int source = real ? wb_source(&s, FRONT(r), top[r], left[r], kz, ky, kx) : -1;
                    next_a[l] = source < 0 ? (float4)(real ? 0.0f : -0.0f)
                                           : *(global const float4 *)(x + base[r] + source * s.x_pixel + c);
                }
                ADVANCE(STEP)
            } else {
                float v[A_LOADS][4];
                WB_EACH(i, 4) {
                    WB_EACH(l, A_LOADS) {
                        const int r = my_row + l * (ITEMS / 2);
                        const bool real = k_next + my_k + i < last;
                        const int source = real ? wb_source(&s, FRONT(r), top[r], left[r], kz, ky, kx) : -1;
                        v[l][i] = source < 0 ? (real ? 0.0f : -0.0f) : x[base[r] + source * s.x_pixel + c];
                    }
                    ADVANCE(i < 3 ? 1 : STEP - 3)
                }
                WB_EACH(l, A_LOADS) next_a[l] = vload4(0, v[l]);
            }
            WB_EACH(l, B_LOADS) {
                const int k = k_next + my_term + l * (STEP / B_LOADS);
                next_b[l] = k < last && my_panel < group_panels ? b[k * (WB_PANEL / 4)] : (float4)(0.0f);
            }
        }
        if (k0 >= first) {
            WB_EACH(k, STEP) TERM(k)
            if (k_next % WB_CHUNK == 0 || k_next >= last) {
                // Nothing, but not to a compiler: one that saw that the places of the outputs stay the same would work
                // them out before the loop, and keep them all in registers, which are needed for sums.
                const int nothing = k0 >> 30;
                const int row1 = row0 + ty * 4 + nothing, inside1 = tile * WB_COLUMNS + tx * 4 + nothing;
                WB_EACH(i, 16) {
                    const int row = row1 + i / 8 * (WB_ROWS / 2) + i / 2 % 4;
                    const int inside = inside1 + i % 2 * (WB_COLUMNS / 2);
                    if (row < rows && inside < group_columns) {
#ifdef WB_SPLIT
                        const int at = row * s.oc + group * group_columns + inside;
#else
                        const int at = row * s.y_pixel + y_group + inside;
#endif
                        const int at_bias = group * group_panels * WB_PANEL + inside;
                        conv_keep(
                            &s, sum[i / 2][i % 2], k0 < first + WB_CHUNK, k_next >= last, whole_outputs,
                            group_columns - inside, bias + at_bias, residual + at, y + at);
                    }
                    sum[i / 2][i % 2] = 0.0f;
                }
            }
        }
        copy ^= 1;
        if (k_next < last) {
            WB_EACH(l, A_LOADS) {
                const int r = my_row + l * (ITEMS / 2);
                local float *column = (local float *)&la[copy][my_k][0] + (r ^ (my_k * 4));
                column[0] = next_a[l].x;
                column[WB_ROWS] = next_a[l].y;
                column[WB_ROWS * 2] = next_a[l].z;
                column[WB_ROWS * 3] = next_a[l].w;
            }
            WB_EACH(l, B_LOADS) lb[copy][my_term + l * (STEP / B_LOADS)][my_column] = next_b[l];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
#endif

// What is left to do after a convolution with WB_SPLIT: one work-item adds up the chunks of one output.
#ifdef WB_KERNEL_join_chunks
kernel void join_chunks(
    global const float *restrict chunks, global const float *restrict bias, global const float *restrict residual,
    global float *restrict y, wb_conv s)
{
    const int i = (int)get_global_id(0), outputs = s.n * s.od * s.oh * s.ow * s.oc;
    if (i >= outputs) return;
    const int terms = s.kd * s.kh * s.kw * (s.c / s.groups);
    float total = chunks[i];
    for (int k = WB_CHUNK, from = i + outputs; k < terms; k += WB_CHUNK, from += outputs) total = total + chunks[from];
    const int group_columns = s.oc / s.groups, group_panels = (group_columns + WB_PANEL - 1) / WB_PANEL;
    const int row = i / s.oc, column = i - row * s.oc, group = column / group_columns;
    const int inside = column - group * group_columns, at = row * s.y_pixel + wb_group_at(&s, group, s.y_outer, s.y_group) + inside;
    y[at] = wb_conv_finish(&s, total, bias + group * group_panels * WB_PANEL + inside, residual + at);
}
#endif

#endif
