// Element-wise operations: one kernel, which the host builds once for each line of elementwise.clh with WB_MAP as its name.
// Work: dimension 0 counts the elements of the grid.

#define MAP(NAME, FORMULA) \
    WB_FN float map_##NAME(float x, float z, float a, float b) { return FORMULA; }
WB_MAPS(MAP)

kernel void map(global const float *px, global const float *pz, global float *py, wb_grid g, float a, float b)
{
    int rest = (int)get_global_id(0), ox = g.x0, oz = g.z0, oy = g.y0;
    for (int d = WB_RANK - 1; d > WB_RANK - g.rank; d--) {
        const int next = rest / g.dims[d], at = rest - next * g.dims[d];
        ox += at * g.x[d], oz += at * g.z[d], oy += at * g.y[d];
        rest = next;
    }
    const int last = WB_RANK - g.rank;
    if (rest >= g.dims[last]) return;
    ox += rest * g.x[last], oz += rest * g.z[last], oy += rest * g.y[last];
    py[oy] = WB_MAP(px[ox], pz[oz], a, b);
}
