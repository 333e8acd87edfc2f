// Element-wise operations: one kernel, which the host builds once for each line of elementwise.clh with WB_MAP as its name.
// Work: dimension 0 counts the elements of the grid.

#define MAP(NAME, FORMULA) \
    WB_FN float map_##NAME(float x, float z, float a, float b) { return FORMULA; }
WB_MAPS(MAP)

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
