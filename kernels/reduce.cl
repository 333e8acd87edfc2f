// Reductions and what is made of them: the arithmetic is in reduce.clh.
// Work: dimension 0 counts what is written, except where a kernel says otherwise.

#ifdef WB_KERNEL_reduce
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
kernel void cam(global const float *activation, global const float *weights, global float *map, wb_maps s)
{
    const int i = (int)get_global_id(0);
    if (i < s.n * s.pixels) map[i] = wb_cam_value(&s, activation, weights, i);
}
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
