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

// Which tap of each window is its largest, in the order of the window.
#ifdef WB_KERNEL_max_pool_taken
kernel void max_pool_taken(global const float *x, global int *taken, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.oh * s.ow) return;
    const int ox = row % s.ow, oy = row / s.ow % s.oh;
    global const float *image = x + row / (s.ow * s.oh) * s.h * s.w * s.c + c;
    float best = -INFINITY;
    int tap = -1;
    for (int ky = 0; ky < s.kh; ky++) {
        const int iy = oy * s.stride_h - s.pad_h + ky * s.dilation_h;
        if (iy < 0 || iy >= s.h) continue;
        for (int kx = 0; kx < s.kw; kx++) {
            const int ix = ox * s.stride_w - s.pad_w + kx * s.dilation_w;
            if (ix < 0 || ix >= s.w) continue;
            const float candidate = image[(iy * s.w + ix) * s.c];
            const bool takes = tap < 0 || wb_pool_takes(candidate, best);
            best = takes ? candidate : best;
            tap = takes ? ky * s.kw + kx : tap;
        }
    }
    taken[row * s.c + c] = tap;
}
#endif

#ifdef WB_KERNEL_max_pool_vjp
kernel void max_pool_vjp(global const int *taken, global const float *dy, global float *dx, wb_pool s)
{
    const int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c >= s.c || row >= s.n * s.h * s.w) return;
    const int ix = row % s.w, iy = row / s.w % s.h, image = row / (s.w * s.h) * s.oh * s.ow;
    const int oy1 = wb_pool_end(iy, s.stride_h, s.pad_h, s.oh), ox1 = wb_pool_end(ix, s.stride_w, s.pad_w, s.ow);
    float sum = 0.0f;
    for (int oy = wb_pool_first(iy, s.kh, s.stride_h, s.pad_h, s.dilation_h); oy < oy1; oy++) {
        const int ky = wb_pool_tap(iy, oy, s.stride_h, s.pad_h, s.dilation_h);
        if (ky < 0) continue;
        for (int ox = wb_pool_first(ix, s.kw, s.stride_w, s.pad_w, s.dilation_w); ox < ox1; ox++) {
            const int kx = wb_pool_tap(ix, ox, s.stride_w, s.pad_w, s.dilation_w);
            const int at = (image + oy * s.ow + ox) * s.c + c;
            if (kx >= 0 && taken[at] == ky * s.kw + kx) sum = sum + dy[at];
        }
    }
    dx[row * s.c + c] = sum;
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
    const int ix = row % s.w, iy = row / s.w % s.h, image = row / (s.w * s.h) * s.oh * s.ow;
    const int oy1 = wb_pool_end(iy, s.stride_h, s.pad_h, s.oh), ox1 = wb_pool_end(ix, s.stride_w, s.pad_w, s.ow);
    float sum = 0.0f;
    for (int oy = wb_pool_first(iy, s.kh, s.stride_h, s.pad_h, s.dilation_h); oy < oy1; oy++) {
        if (wb_pool_tap(iy, oy, s.stride_h, s.pad_h, s.dilation_h) < 0) continue;
        for (int ox = wb_pool_first(ix, s.kw, s.stride_w, s.pad_w, s.dilation_w); ox < ox1; ox++)
            if (wb_pool_tap(ix, ox, s.stride_w, s.pad_w, s.dilation_w) >= 0)
                sum = sum + wb_div(dy[(image + oy * s.ow + ox) * s.c + c], wb_pool_count(&s, oy, ox));
    }
    dx[row * s.c + c] = sum;
}
#endif
