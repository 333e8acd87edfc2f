// Element-wise operations: one kernel, which the host builds once for each line of elementwise.clh with WB_MAP as its name.
// In two shapes, one for CPUs, one for GPUs. Work: dimension 0 counts work-items.

#define MAP(NAME, FORMULA) \
    WB_FN float map_##NAME(float x, float z, float a, float b) { return FORMULA; }
WB_MAPS(MAP)

#ifdef WB_CPU_SHAPE

// One work-item computes WB_RUN neighbours of the innermost dimension.
kernel void map(
    global const float *restrict px, global const float *restrict pz, global float *restrict py, wb_grid g, float a, float b)
{
    const int last = WB_RANK - 1, runs = (g.dims[last] + WB_RUN - 1) / WB_RUN, line = (int)get_global_id(0) / runs;
    const int begin = ((int)get_global_id(0) - line * runs) * WB_RUN, count = min(WB_RUN, g.dims[last] - begin);
    const int sx = g.x[last], sz = g.z[last], sy = g.y[last];
    int ox, oz, oy;
    if (!wb_grid_at(&g, last - 1, line, &ox, &oz, &oy)) return;
    global const float *x = px + ox + begin * sx, *z = pz + oz + begin * sz;
    global float *y = py + oy + begin * sy;
    WB_MAP_RUN(WB_MAP, count, x, sx, z, sz, y, sy, a, b)
}

#else

// One work-item computes one element.
kernel void map(global const float *px, global const float *pz, global float *py, wb_grid g, float a, float b)
{
    int ox, oz, oy;
    if (wb_grid_at(&g, WB_RANK - 1, (int)get_global_id(0), &ox, &oz, &oy)) py[oy] = WB_MAP(px[ox], pz[oz], a, b);
}

#endif
