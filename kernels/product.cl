// Packs the right operands of products of computed matrices: product.clh. The products themselves are convolutions.

#ifdef WB_KERNEL_pack_panels
#ifdef WB_CPU_SHAPE

// Work: dimension 0 counts runs of WB_RUN terms, dimension 1 panels of all matrices.
kernel void pack_panels(global const float *restrict b, global float *restrict packed, wb_panels s)
{
    const int k0 = (int)get_global_id(0) * WB_RUN;
    wb_pack_panel(&s, b, packed, (int)get_global_id(1), k0, min(k0 + WB_RUN, s.k));
}

#else

// Work: one item a number of the panels.
kernel void pack_panels(global const float *restrict b, global float *restrict packed, wb_panels s)
{
    const int i = (int)get_global_id(0), column = i % WB_PANEL, line = i / WB_PANEL;
    const int panels = (s.n + WB_PANEL - 1) / WB_PANEL, panel = line / s.k, k = line - panel * s.k;
    const int matrix = panel / panels, n = (panel - matrix * panels) * WB_PANEL + column;
    if (matrix >= s.batch) return;
    packed[i] = n < s.n ? b[wb_matrix_at(&s, matrix) + n * s.n_stride + k * s.k_stride] : 0.0f;
}

#endif
#endif
