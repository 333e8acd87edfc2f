// A product of rows with the transpose of a packed matrix: y[row][term] = sum over columns of x[row][column] w[column][term].
//
// The contract is that of kernels/convolution.cl, with the columns as the terms: each run of WB_CHUNK columns starts at +0 and adds
// fma(x, w, sum) in ascending order; the sums are added in ascending order, beginning with the first. So the bits are those of the
// convolution with the transposed matrix, which need not be there: `weights` are packed for the product that goes the other way,
// [panel][term][32 columns], and a work-item reads the 32 columns of its terms in one go.

#ifdef WB_CPU_SHAPE
#define WB_TERMS 32 // of a work-item
#define WB_SUMS 2   // vectors of them
typedef float16 sums;
#else
#define WB_TERMS 1
#define WB_SUMS 1
typedef float sums;
#endif

#ifdef WB_KERNEL_reverse_product
// Asks for memory that is needed soon (see kernels/convolution.cl).
#ifdef WB_PREFETCH
#define SOON(p) __builtin_prefetch((const void *)(size_t)(p), 0, 3)
#else
#define SOON(p)
#endif

// w[column][…] = the numbers of this work-item's terms in 32 columns, from [term][32]; zeros where there is no term. `soon` is where
// the next 32 columns lie.
WB_FN void columns_of_terms(global const float *from, global const float *soon, int terms, sums w[][WB_SUMS])
{
#ifdef WB_CPU_SHAPE
    float *turned = (float *)w;
    if (terms < WB_TERMS) {
        for (int c = 0; c < WB_PANEL; c++) w[c][0] = w[c][1] = 0.0f;
        for (int t = 0; t < terms; t++)
            for (int c = 0; c < WB_PANEL; c++) turned[c * WB_TERMS + t] = from[t * WB_PANEL + c];
        return;
    }
    // 4 by 4 at a time.
    for (int t = 0; t < WB_TERMS; t += 4) {
        for (int line = 0; line < 4 * WB_PANEL; line += 16) SOON(soon + t * WB_PANEL + line);
#pragma unroll
        for (int c = 0; c < WB_PANEL; c += 4) {
            global const float *a = from + t * WB_PANEL + c;
            const float4 p = vload4(0, a), q = vload4(0, a + WB_PANEL), r = vload4(0, a + 2 * WB_PANEL),
                         s = vload4(0, a + 3 * WB_PANEL);
            float *to = turned + c * WB_TERMS + t;
            vstore4((float4)(p.x, q.x, r.x, s.x), 0, to);
            vstore4((float4)(p.y, q.y, r.y, s.y), 0, to + WB_TERMS);
            vstore4((float4)(p.z, q.z, r.z, s.z), 0, to + 2 * WB_TERMS);
            vstore4((float4)(p.w, q.w, r.w, s.w), 0, to + 3 * WB_TERMS);
        }
    }
#else
    for (int c = 0; c < WB_PANEL; c += 4) {
        const float4 p = vload4(0, from + c);
        w[c][0] = p.x, w[c + 1][0] = p.y, w[c + 2][0] = p.z, w[c + 3][0] = p.w;
    }
#endif
}

// Work: dimension 0 counts terms, WB_TERMS at a time, dimension 1 rows, 4 at a time.
kernel void reverse_product(global const float *x, global const float *weights, global float *y, wb_reverse s)
{
    const int t0 = (int)get_global_id(0) * WB_TERMS, r0 = (int)get_global_id(1) * 4;
    if (t0 >= s.terms || r0 >= s.rows) return;
    const int rows = min(4, s.rows - r0);
    sums total[4][WB_SUMS], sum[4][WB_SUMS];
    for (int c0 = 0; c0 < s.columns; c0 += WB_PANEL) {
        const int columns = min(WB_PANEL, s.columns - c0);
        sums w[WB_PANEL][WB_SUMS];
        global const float *from = weights + ((size_t)(c0 / WB_PANEL) * s.terms + t0) * WB_PANEL;
        columns_of_terms(from, from + (size_t)s.terms * WB_PANEL, s.terms - t0, w);
        const bool begins = c0 % WB_CHUNK == 0, ends = (c0 + WB_PANEL) % WB_CHUNK == 0 || c0 + WB_PANEL >= s.columns;
        for (int r = 0; r < rows; r++) {
            global const float *a = x + (size_t)(r0 + r) * s.columns + c0;
            sums u[WB_SUMS];
            WB_EACH(v, WB_SUMS) u[v] = begins ? (sums)(0.0f) : sum[r][v];
            for (int c = 0; c < columns; c++) WB_EACH(v, WB_SUMS) u[v] = fma((sums)(a[c]), w[c][v], u[v]);
            WB_EACH(v, WB_SUMS)
            {
                sum[r][v] = u[v];
                if (ends) total[r][v] = c0 < WB_CHUNK ? u[v] : total[r][v] + u[v];
            }
        }
    }
    for (int r = 0; r < rows; r++) {
        global float *to = y + (size_t)(r0 + r) * s.terms + t0;
#ifdef WB_CPU_SHAPE
        const float *one = (const float *)total[r];
        for (int t = 0; t < min(WB_TERMS, s.terms - t0); t++) to[t] = one[t];
#else
        *to = total[r][0];
#endif
    }
}
#endif
