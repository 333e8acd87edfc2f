// Normalisations of rows: the arithmetic is in normalise.clh.
// Work: in the shape for CPUs an item takes a unit of rows. In that for GPUs sixteen items, along dimension 0, take the lanes of a row,
// and dimension 1 counts the rows.

#ifdef WB_CPU_SHAPE

#ifdef WB_KERNEL_normalise
kernel void normalise(
    global const float *x, global const int *offsets, global const float *scale, global const float *bias, global float *y,
    wb_norm s)
{
    const int unit = (int)get_global_id(0);
    if (unit < s.units) wb_normalise(&s, offsets, x, 0, scale, bias, y, unit);
}
#endif

#ifdef WB_KERNEL_normalise_vjp
kernel void normalise_vjp(
    global const float *x, global const int *offsets, global const float *dy, global const float *scale, global float *dx,
    wb_norm s)
{
    const int unit = (int)get_global_id(0);
    if (unit < s.units) wb_normalise(&s, offsets, x, dy, scale, 0, dx, unit);
}
#endif

#else

#define GROUP_ROWS 4 // at most

// The sum of what the lanes of a row hold, for each of them.
#define LANE_SUM(result, term)                                                                   \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                \
    lanes[lane] = term;                                                                          \
    for (int width = WB_LANES / 2; width > 0; width /= 2) {                                      \
        barrier(CLK_LOCAL_MEM_FENCE);                                                            \
        if (lane < width) lanes[lane] = lanes[lane] + lanes[lane + width];                       \
    }                                                                                            \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                \
    const float result = lanes[0];

// Items past the last row compute that of the first, and write nothing.
#define LANE_OF_ROW                                                                              \
    local float all_lanes[GROUP_ROWS][WB_LANES];                                                 \
    const wb_norm *const s = &norm;                                                              \
    const int lane = (int)get_local_id(0);                                                       \
    local float *const lanes = all_lanes[get_local_id(1)];                                       \
    const float count = (float)(s->runs * s->length);                                            \
    int ox, oz, oy;                                                                              \
    bool there = wb_grid_at(&s->rows, WB_RANK - 1, (int)get_global_id(1), &ox, &oz, &oy);        \
    if (!there) ox = s->rows.x0, oz = s->rows.z0, oy = s->rows.y0;                               \
    x += ox, scale += oz;                                                                        \
    float mean = 0.0f, part = 0.0f;                                                              \
    if (s->centred) {                                                                            \
        WB_WALK_LANE(lane, { part = part + x[at]; })                                             \
        LANE_SUM(sum, part)                                                                      \
        mean = wb_div(sum, count);                                                               \
    }

#ifdef WB_KERNEL_normalise
kernel void normalise(
    global const float *x, global const int *offsets, global const float *scale, global const float *bias, global float *y,
    wb_norm norm)
{
    LANE_OF_ROW
    y += oy, bias += oz, part = 0.0f;
    WB_WALK_LANE(lane, {
        const float d = x[at] - mean;
        part = wb_fma(d, d, part);
    })
    LANE_SUM(squares, part)
    const float r = wb_norm_factor(s, wb_div(squares, count));
    if (there) WB_WALK_LANE(lane, { y[at] = wb_fma((x[at] - mean) * r, scale[z], bias[z]); })
}
#endif

#ifdef WB_KERNEL_normalise_vjp
kernel void normalise_vjp(
    global const float *x, global const int *offsets, global const float *dy, global const float *scale, global float *dx,
    wb_norm norm)
{
    LANE_OF_ROW
    dx += oy, dy += ox + s->dy0 - s->rows.x0, part = 0.0f;
    float pull = 0.0f, term = 0.0f;
    WB_WALK_LANE(lane, {
        const float d = x[at] - mean;
        const float g = dy[at] * scale[z];
        part = wb_fma(d, d, part);
        pull = wb_fma(g, d, pull);
        term = term + g;
    })
    LANE_SUM(squares, part)
    LANE_SUM(pulls, pull)
    LANE_SUM(terms, term)
    const float variance = wb_div(squares, count), r = wb_norm_factor(s, variance);
    const float k = wb_norm_pull(s, wb_div(pulls, count), variance, r), a = s->centred ? wb_div(terms, count) : 0.0f;
    if (there) WB_WALK_LANE(lane, { dx[at] = r * wb_fma(-(x[at] - mean), k, dy[at] * scale[z] - a); })
}
#endif

#endif
