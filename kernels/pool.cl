// Pooling: the orders, ties and gathers are in pool.clh.
// Work: dimension 0 counts channels, dimension 1 pixels of what is written.

#ifdef WB_KERNEL_max_pool
kernel void max_pool(global const float *x, global float *y, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.oh * s.ow) return;
    const int ox = row % s.ow, oy = row / s.ow % s.oh;
    global const float *image = x + row / (s.ow * s.oh) * s.h * s.w * s.c + c;
    float best = -INFINITY;
    for (int ky = 0; ky < s.kh; ky++) {
        const int iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h;
        if (iy < 0 || iy >= s.h) continue;
        for (int kx = 0; kx < s.kw; kx++) {
            const int ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;
            if (ix < 0 || ix >= s.w) continue;
            const float candidate = image[(iy * s.w + ix) * s.c];
            best = wb_pool_takes(candidate, best) ? candidate : best;
        }
    }
    y[row * s.c + c] = best;
}
#endif

#ifdef WB_KERNEL_max_pool_vjp
kernel void max_pool_vjp(global const float *x, global const float *dy, global float *dx, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.h * s.w) return;
    const int ix = row % s.w, iy = row / s.w % s.h, n = row / (s.w * s.h);
    dx[row * s.c + c] = wb_max_pool_vjp(&s, x + n * s.h * s.w * s.c + c, dy + n * s.oh * s.ow * s.c + c, iy, ix);
}
#endif

#ifdef WB_KERNEL_average_pool
kernel void average_pool(global const float *x, global float *y, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.oh * s.ow) return;
    const int ox = row % s.ow, oy = row / s.ow % s.oh;
    global const float *image = x + row / (s.ow * s.oh) * s.h * s.w * s.c + c;
    float sum = 0.0f;
    for (int ky = 0; ky < s.kh; ky++) {
        const int iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h;
        if (iy < 0 || iy >= s.h) continue;
        for (int kx = 0; kx < s.kw; kx++) {
            const int ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;
            if (ix < 0 || ix >= s.w) continue;
            sum = sum + image[(iy * s.w + ix) * s.c];
        }
    }
    y[row * s.c + c] = wb_div(sum, wb_pool_count(&s, oy, ox));
}
#endif

#ifdef WB_KERNEL_average_pool_vjp
kernel void average_pool_vjp(global const float *dy, global float *dx, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.h * s.w) return;
    const int ix = row % s.w, iy = row / s.w % s.h, n = row / (s.w * s.h);
    dx[row * s.c + c] = wb_average_pool_vjp(&s, dy + n * s.oh * s.ow * s.c + c, iy, ix);
}
#endif
