// What the promise of equal bits stands on, measured: arithmetic, conversions, our own functions, and the order of the terms of
// a loop. The host (Sources/Kernels/Devices/Probe.swift) has the same list and compares with the processor, bit by bit.
// Results lie in `out`, those of one operation side by side.

#define PUT(value) *out = value; out += count;

// What is computed scalar. Work: dimension 0 counts cases.
kernel void probe(global const float *a, global const float *b, global const float *c, global float *out)
{
    const int i = (int)get_global_id(0), count = (int)get_global_size(0);
    const float x = a[i], y = b[i], z = c[i];
    out += i;
    PUT(x + y)
    PUT(x - y)
    PUT(x * y)
    PUT(x * y + z)
    PUT((x + y) - x)
    PUT(fma(x, y, z))
    PUT(x < y ? y : x)
    PUT((float)((int)wb_as_u32(x) >> 8))
    PUT((float)(int)(wb_abs(x) < 0x1p+24f ? x : 0.0f))
    PUT(wb_max(x, y))
    PUT(wb_min(x, y))
    PUT(wb_div(x, y))
    PUT(wb_sqrt(x))
    PUT(wb_div_integer(x, y))
    PUT(wb_sqrt_integer(x))
    PUT(wb_exp(x))
    PUT(wb_expm1(x))
    PUT(wb_log(x))
    PUT(wb_log1p(x))
    PUT(wb_softplus(x))
    PUT(wb_sigmoid(x))
    PUT(wb_tanh(x))
    PUT(wb_erf(x))
    PUT(wb_pow(x, y))
}

// What is computed in vectors. Work: dimension 0 counts vectors.
#define PROBE(N)                                                                                                            \
    kernel void probe_##N(global const float *a, global const float *b, global const float *c, global float *out)           \
    {                                                                                                                       \
        const int i = (int)get_global_id(0), count = (int)get_global_size(0) * N;                                           \
        const float##N x = vload##N(i, a), y = vload##N(i, b), z = vload##N(i, c);                                          \
        vstore##N(x + y, i, out), out += count;                                                                             \
        vstore##N(x - y, i, out), out += count;                                                                             \
        vstore##N(x * y, i, out), out += count;                                                                             \
        vstore##N(x * y + z, i, out), out += count;                                                                         \
        vstore##N((x + y) - x, i, out), out += count;                                                                       \
        vstore##N(fma(x, y, z), i, out), out += count;                                                                      \
        vstore##N(x < y ? y : x, i, out);                                                                                   \
    }
PROBE(4)
PROBE(16)

// Sums of `terms` terms, from the first to the last. Work: dimension 0 counts sums.
kernel void probe_sums(global const float *a, global const float *b, global float *out, int count, int terms)
{
    const int i = (int)get_global_id(0);
    if (i >= count) return;
    a += i * terms, out += i;
    float sum = 0.0f;
    for (int k = 0; k < terms; k++) sum = sum + a[k];
    PUT(sum)
    sum = 0.0f;
    for (int k = 0; k < terms; k++) sum = sum + (a[k] > b[k] ? b[k] : 0.0f);
    PUT(sum)
    sum = 0.0f;
    for (int k = 0; k < terms; k++) sum = sum + a[k] * b[k];
    PUT(sum)
    sum = 0.0f;
    for (int k = 0; k < terms; k++) sum = fma(a[k], b[k], sum);
    PUT(sum)
}
