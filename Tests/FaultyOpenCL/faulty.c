// An OpenCL loader whose calls are the real one's, but for one function, which fails: FAULT=clEnqueueNDRangeKernel:17:-5 has its 17th call return the
// error -5, and so all after it; with a + behind that call alone fails.
//
// It is linked with the real loader, so that whoever looks up a function here finds those that are not below there.
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static atomic_long calls;

// The error of this call; 0 for none.
static cl_int fault(const char *name) {
    const char *asked = getenv("FAULT");
    size_t length = strlen(name);
    if (!asked || strncmp(asked, name, length) || asked[length] != ':') return CL_SUCCESS;
    char *end;
    long at = strtol(asked + length + 1, &end, 10), call = atomic_fetch_add(&calls, 1) + 1;
    if (*end != ':') return CL_SUCCESS;
    long code = strtol(end + 1, &end, 10);
    return call == at || (call > at && *end != '+') ? (cl_int)code : CL_SUCCESS;
}

static void *real(const char *name) {
    void *loader = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    void *function = loader ? dlsym(loader, name) : NULL;
    if (!function) abort();
    return function;
}

#define STATUS(name, parameters, arguments)                                                                            \
    cl_int name parameters {                                                                                           \
        cl_int code = fault(#name);                                                                                    \
        return code ? code : ((cl_int(*) parameters)real(#name))arguments;                                             \
    }
#define OBJECT(type, name, parameters, arguments)                                                                      \
    type name parameters {                                                                                             \
        cl_int code = fault(#name);                                                                                    \
        if (!code) return ((type(*) parameters)real(#name))arguments;                                                  \
        if (status) *status = code;                                                                                    \
        return NULL;                                                                                                   \
    }

OBJECT(cl_mem, clCreateBuffer, (cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *status),
       (context, flags, size, host, status))
OBJECT(cl_mem, clCreateSubBuffer,
       (cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type, const void *region, cl_int *status),
       (buffer, flags, type, region, status))
OBJECT(cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *status), (program, name, status))
STATUS(clEnqueueNDRangeKernel,
       (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
        const size_t *local, cl_uint count, const cl_event *events, cl_event *event),
       (queue, kernel, dimensions, offset, global, local, count, events, event))
STATUS(clEnqueueReadBuffer,
       (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, void *target,
        cl_uint count, const cl_event *events, cl_event *event),
       (queue, buffer, blocking, offset, size, target, count, events, event))
STATUS(clEnqueueWriteBuffer,
       (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, const void *source,
        cl_uint count, const cl_event *events, cl_event *event),
       (queue, buffer, blocking, offset, size, source, count, events, event))
OBJECT(void *, clEnqueueMapBuffer,
       (cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags, size_t offset, size_t size,
        cl_uint count, const cl_event *events, cl_event *event, cl_int *status),
       (queue, buffer, blocking, flags, offset, size, count, events, event, status))
STATUS(clFlush, (cl_command_queue queue), (queue))
STATUS(clFinish, (cl_command_queue queue), (queue))
STATUS(clWaitForEvents, (cl_uint count, const cl_event *events), (count, events))
