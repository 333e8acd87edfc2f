// Element-wise operations: one kernel, which the host builds once for each line of elementwise.clh with WB_MAP as its name.
// In two shapes, one for CPUs, one for GPUs. Work: dimension 0 counts work-items.

#define MAP(NAME, FORMULA) \
    WB_FN float map_##NAME(float x, float z, float a, float b) { return FORMULA; }
WB_MAPS(MAP)

#ifdef WB_CPU_SHAPE

// One work-item computes WB_RUN neighbours of the innermost dimension, which the compiler turns into vectors where it can.
kernel void map(
    global const float *restrict px, global const float *restrict pz, global float *restrict py, wb_grid g, float a, float b)
{
    const int last = WB_RANK - 1, runs = (g.dims[last] + WB_RUN - 1) / WB_RUN;
    int rest = (int)get_global_id(0) / runs, ox = g.x0, oz = g.z0, oy = g.y0;
    const int begin = ((int)get_global_id(0) - rest * runs) * WB_RUN, count = min(WB_RUN, g.dims[last] - begin);
    for (int d = last - 1; d >= WB_RANK - g.rank; d--) {
        const int next = rest / g.dims[d], at = rest - next * g.dims[d];
        ox += at * g.x[d], oz += at * g.z[d], oy += at * g.y[d];
        rest = next;
    }
    if (rest > 0) return;
    const int sx = g.x[last], sz = g.z[last], sy = g.y[last];
    global const float *x = px + ox + begin * sx, *z = pz + oz + begin * sz;
    global float *y = py + oy + begin * sy;
    if (sx == 1 && sz == 1 && sy == 1)
        for (int j = 0; j < count; j++) y[j] = WB_MAP(x[j], z[j], a, b);
    else if (sx == 1 && sz == 0 && sy == 1)
        for (int j = 0; j < count; j++) y[j] = WB_MAP(x[j], *z, a, b);
    else
        for (int j = 0; j < count; j++) y[j * sy] = WB_MAP(x[j * sx], z[j * sz], a, b);
}

#else

// One work-item computes one element.
kernel void map(global const float *px, global const float *pz, global float *py, wb_grid g, float a, float b)
{
    int rest = (int)get_global_id(0), ox = g.x0, oz = g.z0, oy = g.y0;
    // Unrolled, because a GPU has no registers to index.
    _Pragma("unroll")
    for (int d = WB_RANK - 1; d >= 0; d--) {
        if (d < WB_RANK - g.rank) break;
        const int next = d > WB_RANK - g.rank ? rest / g.dims[d] : 0, at = rest - next * g.dims[d];
        if (at >= g.dims[d]) return;
        ox += at * g.x[d], oz += at * g.z[d], oy += at * g.y[d];
        rest = next;
    }
    py[oy] = WB_MAP(px[ox], pz[oz], a, b);
}

#endif
