// Element-wise operations: one kernel for each line of elementwise.clh, over a grid with strides.
// Work: dimension 0 counts the elements of the grid.

#define MAP(NAME, FORMULA)                                                                                            \
    kernel void map_##NAME(                                                                                           \
        global const float *px, global const float *pz, global float *py, wb_grid g, float a, float b)                \
    {                                                                                                                 \
        int rest = (int)get_global_id(0), ox = g.x0, oz = g.z0, oy = g.y0;                                            \
        for (int d = WB_RANK - 1; d > WB_RANK - g.rank; d--) {                                                        \
            const int next = rest / g.dims[d], at = rest - next * g.dims[d];                                          \
            ox += at * g.x[d], oz += at * g.z[d], oy += at * g.y[d];                                                  \
            rest = next;                                                                                              \
        }                                                                                                             \
        const int last = WB_RANK - g.rank;                                                                            \
        if (rest >= g.dims[last]) return;                                                                             \
        ox += rest * g.x[last], oz += rest * g.z[last], oy += rest * g.y[last];                                       \
        const float x = px[ox], z = pz[oz];                                                                           \
        py[oy] = FORMULA;                                                                                             \
    }
WB_MAPS(MAP)
