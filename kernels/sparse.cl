// Products with a constant sparse matrix: the arithmetic and the order of the terms are in sparse.clh.
// On the grid, x leads to the numbers that a row's offsets are counted from, z to the row, y to the result.

#ifdef WB_KERNEL_sparse
kernel void sparse(
    global const float *px, global const int *starts, global const int *offsets, global const float *weights, global float *py,
    wb_grid g, int weighted)
{
    int ox, oz, oy;
#ifdef WB_CPU_SHAPE
    // One work-item computes WB_RUN neighbours of the innermost dimension.
    const int last = WB_RANK - 1, runs = (g.dims[last] + WB_RUN - 1) / WB_RUN, line = (int)get_global_id(0) / runs;
    const int begin = ((int)get_global_id(0) - line * runs) * WB_RUN, count = min(WB_RUN, g.dims[last] - begin);
    const int sx = g.x[last], sz = g.z[last], sy = g.y[last];
    if (!wb_grid_at(&g, last - 1, line, &ox, &oz, &oy)) return;
    wb_sparse_run(
        px + ox + begin * sx, sx, starts + oz + begin * sz, sz, offsets, weights, weighted, py + oy + begin * sy, sy, count);
#else
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy))
        py[oy] = wb_sparse_row(px + ox, offsets, weights, weighted, starts[oz], starts[oz + 1]);
#endif
}
#endif
