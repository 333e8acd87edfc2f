// What a device can do at best, for `app bench --layers` to compare other kernels with.
//
// peak: as many fused multiply-adds as it gets. y[i] = what `rounds` steps of s = fma(s, 1/2, 1) make of s = i mod 256. Each work-item has enough independent sums to keep its units
// busy: WB_PEAK in vectors where a CPU runs it, 16 numbers where a GPU does.
//
// stream: y[i] = a[i] + b[i], as fast as memory gets. A work-item adds WB_PEAK numbers where a CPU runs it, 4 where a GPU does.

#ifdef WB_KERNEL_peak
#ifdef WB_CPU_SHAPE
kernel void peak(global float *y, int count, int rounds)
{
    const int at = get_global_id(0) * WB_PEAK;
    if (at >= count) return;
    float16 s[WB_PEAK / 16];
    const float16 lane = (float16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __attribute__((opencl_unroll_hint(WB_PEAK / 16)))
    for (int v = 0; v < WB_PEAK / 16; v++) s[v] = lane + (float)((at + 16 * v) % 256);
    for (int r = 0; r < rounds; r++)
        __attribute__((opencl_unroll_hint(WB_PEAK / 16)))
        for (int v = 0; v < WB_PEAK / 16; v++) s[v] = fma(s[v], (float16)(0.5f), (float16)(1.0f));
    __attribute__((opencl_unroll_hint(WB_PEAK / 16)))
    for (int v = 0; v < WB_PEAK / 16; v++) vstore16(s[v], v, y + at);
}
#else
kernel void peak(global float *y, int count, int rounds)
{
    const int at = get_global_id(0) * 16;
    if (at >= count) return;
    float s[16];
    #pragma unroll
    for (int v = 0; v < 16; v++) s[v] = (float)((at + v) % 256);
    for (int r = 0; r < rounds; r++) {
        #pragma unroll
        for (int v = 0; v < 16; v++) s[v] = fma(s[v], 0.5f, 1.0f);
    }
    #pragma unroll
    for (int v = 0; v < 16; v++) y[at + v] = s[v];
}
#endif
#endif

#ifdef WB_KERNEL_stream
kernel void stream(global const float *a, global const float *b, global float *y, int count)
{
#ifdef WB_CPU_SHAPE
    const int at = get_global_id(0) * WB_PEAK;
    if (at >= count) return;
    for (int i = at; i < at + WB_PEAK; i += 16) vstore16(vload16(0, a + i) + vload16(0, b + i), 0, y + i);
#else
    const int at = get_global_id(0) * 4;
    if (at < count) vstore4(vload4(0, a + at) + vload4(0, b + at), 0, y + at);
#endif
}
#endif
