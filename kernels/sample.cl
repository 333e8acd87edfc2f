// Sampling images at positions that are data: the arithmetic, the order of the terms and the lists are in sample.clh.
// Work: points; points and their channels, as in pool.cl; parts of images of `run` pixels; pixels and their channels.

#define ROW ((int)get_global_id(1))

#ifdef WB_KERNEL_sample_terms
kernel void sample_terms(global const float *grid, global int *places, global float *weights, wb_sample s)
{
    if ((int)get_global_id(0) < s.n * s.points) wb_sample_terms(&s, grid, places, weights, (int)get_global_id(0));
}
#endif

#ifdef WB_KERNEL_sample
kernel void sample(
    global const float *x, global const int *places, global const float *weights, global float *y, wb_sample s)
{
    if (ROW < s.n * s.points) wb_sample_point(&s, x, places, weights, y, ROW);
}
#endif

#ifdef WB_KERNEL_sample_lists
kernel void sample_lists(global const int *places, global int *heads, global int *followers, wb_sample s, int run)
{
    const int pixels = s.d * s.h * s.w, parts = (pixels + run - 1) / run, at = (int)get_global_id(0), image = at / parts;
    const int begin = (at - image * parts) * run;
    if (image < s.n) wb_sample_lists(&s, places, heads, followers, image, begin, min(begin + run, pixels));
}
#endif

#ifdef WB_KERNEL_sample_vjp
kernel void sample_vjp(
    global const int *heads, global const int *followers, global const float *weights, global const float *dy,
    global float *dx, wb_sample s)
{
    if (ROW < s.n * s.d * s.h * s.w) wb_sample_vjp(&s, heads, followers, weights, dy, dx, ROW);
}
#endif
