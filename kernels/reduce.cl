// Reductions and what is made of them: the arithmetic is in reduce.clh.
// Work: dimension 0 counts what is written, except where a kernel says otherwise. reduce and cam have
// a shape for CPUs, whose vectors or sums do not wait for each other.

#ifdef WB_KERNEL_reduce
#ifdef WB_CPU_SHAPE
// A work-item takes 16 neighbours of the innermost dimension, as one vector where they lie side by side.
kernel void reduce(
    global const float *px, global const int *offsets, global float *py, wb_grid g, int maximum, int count, float divisor)
{
    const int last = WB_RANK - 1, runs = (g.dims[last] + 15) / 16, sx = g.x[last], sy = g.y[last];
    int rest = (int)get_global_id(0) / runs, ox = g.x0, oy = g.y0;
    const int begin = ((int)get_global_id(0) - rest * runs) * 16, neighbours = min(16, g.dims[last] - begin);
    for (int d = last - 1; d >= WB_RANK - g.rank; d--) {
        const int next = rest / g.dims[d], at = rest - next * g.dims[d];
        ox += at * g.x[d], oy += at * g.y[d];
        rest = next;
    }
    if (rest > 0) return;
    global const float *x = px + ox + begin * sx;
    global float *y = py + oy + begin * sy;
    if (!maximum && neighbours == 16 && sx == 1 && sy == 1) {
        float16 lanes[WB_LANES];
        _Pragma("unroll")
        for (int l = 0; l < WB_LANES; l++) lanes[l] = 0.0f;
        for (int e = 0; e < count; e += WB_LANES)
            _Pragma("unroll")
            for (int l = 0; l < WB_LANES; l++)
                if (e + l < count) lanes[l] = lanes[l] + vload16(0, x + offsets[e + l]);
        _Pragma("unroll")
        for (int width = WB_LANES / 2; width > 0; width /= 2)
            _Pragma("unroll")
            for (int l = 0; l < width; l++) lanes[l] = lanes[l] + lanes[l + width];
        float sums[16];
        vstore16(lanes[0], 0, sums);
        for (int j = 0; j < 16; j++) y[j] = wb_div(sums[j], divisor);
        return;
    }
    for (int j = 0; j < neighbours; j++) {
        float lanes[WB_LANES];
        for (int l = 0; l < WB_LANES; l++) lanes[l] = maximum ? -INFINITY : 0.0f;
        for (int e = 0; e < count; e++) {
            const float v = x[j * sx + offsets[e]], lane = lanes[e % WB_LANES];
            lanes[e % WB_LANES] = maximum ? wb_max(lane, v) : lane + v;
        }
        y[j * sy] = wb_div(maximum ? wb_tree_max(lanes) : wb_tree_sum(lanes), divisor);
    }
}
#else
kernel void reduce(
    global const float *px, global const int *offsets, global float *py, wb_grid g, int maximum, int count, float divisor)
{
    int rest = (int)get_global_id(0), ox = g.x0, oy = g.y0;
    // Unrolled, because a GPU has no registers to index.
    _Pragma("unroll")
    for (int d = WB_RANK - 1; d >= 0; d--) {
        if (d < WB_RANK - g.rank) break;
        const int next = d > WB_RANK - g.rank ? rest / g.dims[d] : 0, at = rest - next * g.dims[d];
        if (at >= g.dims[d]) return;
        ox += at * g.x[d], oy += at * g.y[d];
        rest = next;
    }

    float lanes[WB_LANES];
    _Pragma("unroll")
    for (int l = 0; l < WB_LANES; l++) lanes[l] = maximum ? -INFINITY : 0.0f;
    for (int e = 0; e < count; e += WB_LANES)
        _Pragma("unroll")
        for (int l = 0; l < WB_LANES; l++)
            if (e + l < count) {
                const float v = px[ox + offsets[e + l]];
                lanes[l] = maximum ? wb_max(lanes[l], v) : lanes[l] + v;
            }
    py[oy] = wb_div(maximum ? wb_tree_max(lanes) : wb_tree_sum(lanes), divisor);
}
#endif
#endif

// Work: one item a row of the softmax.
#ifdef WB_KERNEL_softmax
kernel void softmax(global const float *x, global float *y, wb_rows s, int logarithm)
{
    const int row = (int)get_global_id(0), at = row / s.inner * s.length * s.inner + row % s.inner;
    if (row < s.outer * s.inner) wb_softmax_row(&s, logarithm, x + at, y + at);
}
#endif

#ifdef WB_KERNEL_softmax_vjp
kernel void softmax_vjp(global const float *y, global const float *dy, global float *dx, wb_rows s, int logarithm)
{
    const int row = (int)get_global_id(0), at = row / s.inner * s.length * s.inner + row % s.inner;
    if (row < s.outer * s.inner) wb_softmax_vjp_row(&s, logarithm, y + at, dy + at, dx + at);
}
#endif

#ifdef WB_KERNEL_lrn
kernel void lrn(global const float *x, global float *y, wb_lrn s)
{
    const int i = (int)get_global_id(0), pixel = i / s.c;
    if (pixel < s.pixels) y[i] = wb_lrn_value(&s, x + pixel * s.c, i - pixel * s.c);
}
#endif

#ifdef WB_KERNEL_lrn_vjp
kernel void lrn_vjp(global const float *x, global const float *dy, global float *dx, wb_lrn s)
{
    const int i = (int)get_global_id(0), pixel = i / s.c;
    if (pixel < s.pixels) dx[i] = wb_lrn_vjp(&s, x + pixel * s.c, dy + pixel * s.c, i - pixel * s.c);
}
#endif

#ifdef WB_KERNEL_product
kernel void product(global const float *a, global const float *b, global float *y, wb_product s)
{
    const int i = (int)get_global_id(0), row = i / s.n;
    if (row < s.batch * s.m) y[i] = wb_product_value(&s, a, b, row, i - row * s.n);
}
#endif

#ifdef WB_KERNEL_cam
#ifdef WB_CPU_SHAPE
// wb_cam_value, of eight cells by each work-item: their sums do not wait for each other. Cells past the last are the last.
kernel void cam(global const float *activation, global const float *weights, global float *map, wb_maps s)
{
    const int first = (int)get_global_id(0) * 8, last = s.n * s.pixels - 1;
    if (first > last) return;
    global const float *a[8], *w[8];
    float total[8];
    for (int r = 0; r < 8; r++) {
        const int cell = min(first + r, last);
        a[r] = activation + cell * s.c;
        w[r] = weights + cell / s.pixels * s.c;
        total[r] = 0.0f;
    }
    for (int c0 = 0; c0 < s.c; c0 += WB_CHUNK) {
        const int c1 = min(c0 + WB_CHUNK, s.c);
        float sum[8];
        _Pragma("unroll")
        for (int r = 0; r < 8; r++) sum[r] = 0.0f;
        for (int c = c0; c < c1; c++)
            _Pragma("unroll")
            for (int r = 0; r < 8; r++) sum[r] = wb_fma(a[r][c], w[r][c], sum[r]);
        for (int r = 0; r < 8; r++) total[r] = c0 == 0 ? sum[r] : total[r] + sum[r];
    }
    for (int r = 0; r < 8 && first + r <= last; r++) map[first + r] = s.clip && total[r] < 0.0f ? 0.0f : total[r];
}
#else
kernel void cam(global const float *activation, global const float *weights, global float *map, wb_maps s)
{
    const int i = (int)get_global_id(0);
    if (i < s.n * s.pixels) map[i] = wb_cam_value(&s, activation, weights, i);
}
#endif
#endif

#ifdef WB_KERNEL_fem_statistics
kernel void fem_statistics(global const float *activation, global float *means, global float *thresholds, wb_maps s)
{
    const int i = (int)get_global_id(0);
    if (i < s.n * s.c) wb_fem_statistics(&s, activation, means, thresholds, i);
}
#endif

#ifdef WB_KERNEL_fem
kernel void fem(
    global const float *activation, global const float *means, global const float *thresholds, global float *map, wb_maps s)
{
    const int i = (int)get_global_id(0);
    if (i < s.n * s.pixels) map[i] = wb_fem_value(&s, activation, means, thresholds, i);
}
#endif
