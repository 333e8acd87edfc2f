// The OpenCL C sources of kernels/, embedded in the program.
#pragma once

// The text of kernels/NAME, or NULL.
const char *wb_kernel_source(const char *name);
