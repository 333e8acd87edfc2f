// Pooling: the arithmetic is in pool.clh.
// Work: dimension 1 counts pixels of what is written, dimension 0 their channels; in the shape for CPUs, a work-item computes all
// channels of a pixel.

#define ROW ((int)get_global_id(1))

#ifdef WB_KERNEL_max_pool
kernel void max_pool(global const float *x, global float *y, wb_pool s)
{
    if (ROW < s.n * s.od * s.oh * s.ow) wb_max_pool(&s, x, y, ROW);
}
#endif

#ifdef WB_KERNEL_max_pool_taken
kernel void max_pool_taken(global const float *x, global int *taken, wb_pool s)
{
    if (ROW < s.n * s.od * s.oh * s.ow) wb_max_pool_taken(&s, x, taken, ROW);
}
#endif

#ifdef WB_KERNEL_max_pool_vjp
kernel void max_pool_vjp(global const int *taken, global const float *dy, global float *dx, wb_pool s)
{
    if (ROW < s.n * s.d * s.h * s.w) wb_max_pool_vjp(&s, taken, dy, dx, ROW);
}
#endif

#ifdef WB_KERNEL_average_pool
kernel void average_pool(global const float *x, global float *y, wb_pool s)
{
    if (ROW < s.n * s.od * s.oh * s.ow) wb_average_pool(&s, x, y, ROW);
}
#endif

#ifdef WB_KERNEL_average_pool_vjp
kernel void average_pool_vjp(global const float *dy, global float *dx, wb_pool s)
{
    if (ROW < s.n * s.d * s.h * s.w) wb_average_pool_vjp(&s, dy, dx, ROW);
}
#endif
