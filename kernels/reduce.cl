// Reductions and what is made of them: the arithmetic is in reduce.clh.
// Work: dimension 0 counts what is written, except where a kernel says otherwise.

// WB_KIND is what is made of the terms. In the shape for CPUs a work-item takes 16 neighbours of the innermost dimension, as one vector where they lie side by side.
#ifdef WB_KERNEL_reduce
kernel void reduce(
    global const float *px, global const int *offsets, global float *py, wb_grid g, int count, float divisor)
{
    int ox, oz, oy;
#ifdef WB_CPU_SHAPE
    const int last = WB_RANK - 1, runs = (g.dims[last] + 15) / 16, sx = g.x[last], sy = g.y[last];
    const int line = (int)get_global_id(0) / runs, begin = ((int)get_global_id(0) - line * runs) * 16;
    const int neighbours = min(16, g.dims[last] - begin);
    if (!wb_grid_at(&g, last - 1, line, &ox, &oz, &oy)) return;
    global const float *x = px + ox + begin * sx;
    global float *y = py + oy + begin * sy;
    if (WB_KIND == WB_REDUCE_SUM && neighbours == 16 && sx == 1 && sy == 1) wb_reduce_vector(x, offsets, count, divisor, y);
    else
        for (int j = 0; j < neighbours; j++) y[j * sy] = wb_div(wb_reduce(WB_KIND, x + j * sx, offsets, count), divisor);
#else
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy))
        py[oy] = wb_div(wb_reduce(WB_KIND, px + ox, offsets, count), divisor);
#endif
}
#endif

// Work of the selections: one item for each set of terms. `px` and `py` are where those of the grid's x and y lie.
#define SELECTION                                                                                  \
    int ox, oz, oy;                                                                                \
    if (!wb_grid_at(&s.grid, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) return;

#ifdef WB_KERNEL_extreme
kernel void extreme(global const float *px, global const int *offsets, global float *py, wb_selection s)
{
    SELECTION
    py[oy] = (float)wb_extreme(s.smallest, s.last, px + ox, offsets, s.count);
}
#endif

// Gives the numbers of z to the terms that were taken, and 0 to all others.
#ifdef WB_KERNEL_give
kernel void give(
    global const float *taken, global const float *pz, global const int *offsets, global float *px, wb_selection s)
{
    SELECTION
    wb_give(&s, taken + oy, pz + oz, offsets, px + ox);
}
#endif

#ifdef WB_KERNEL_top
kernel void top(
    global const float *px, global const int *offsets, global float *values, global float *indices, wb_selection s)
{
    SELECTION
    wb_top(&s, px + ox, offsets, values + oy, indices + oy);
}
#endif

#ifdef WB_KERNEL_factors_vjp
kernel void factors_vjp(
    global const float *px, global const float *pz, global const int *offsets, global float *py, wb_selection s)
{
    SELECTION
    wb_factors_vjp(px + ox, offsets, s.count, pz[oz], py + oy);
}
#endif

// Work: one item a row of the softmax.
#ifdef WB_KERNEL_softmax
kernel void softmax(global const float *x, global float *y, wb_rows s, int logarithm)
{
    const int row = (int)get_global_id(0);
    if (row < s.outer * s.inner) wb_softmax(&s, logarithm, x, y, row);
}
#endif

#ifdef WB_KERNEL_softmax_vjp
kernel void softmax_vjp(global const float *y, global const float *dy, global float *dx, wb_rows s, int logarithm)
{
    const int row = (int)get_global_id(0);
    if (row < s.outer * s.inner) wb_softmax_vjp(&s, logarithm, y, dy, dx, row);
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

// Work: WB_CELLS cells an item.
#ifdef WB_KERNEL_cam
kernel void cam(global const float *activation, global const float *weights, global float *map, wb_maps s)
{
    const int first = (int)get_global_id(0) * WB_CELLS, last = s.n * s.pixels - 1;
    if (first <= last) wb_cam(&s, activation, weights, map, first, last);
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
