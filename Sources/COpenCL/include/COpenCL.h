// OpenCL 1.2 without linking a loader.
//
// Every OpenCL function that Whitebox uses is declared here as `wb_cl...` and forwarded to a loader that is opened
// at the first call: the library named by the environment variable WHITEBOX_OPENCL_LIBRARY, or else libOpenCL.so.1,
// or else libOpenCL.so. So the binary also starts where OpenCL is not installed; there each function returns
// WB_CL_LOADER_MISSING. All functions may be called from any thread.
#ifndef WHITEBOX_COPENCL_H
#define WHITEBOX_COPENCL_H

#define CL_TARGET_OPENCL_VERSION 120
// Newer headers then leave out the prototypes of the cl... functions, so that calling one by mistake does not compile.
#define CL_NO_PROTOTYPES
#include <CL/cl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a forwarded call returns when no loader could be opened.
#define WB_CL_LOADER_MISSING (-30001)
// What it returns when the loader was opened but lacks this one function.
#define WB_CL_FUNCTION_MISSING (-30002)

// Returned by the loader when it finds no platform (cl_khr_icd).
#define WB_CL_PLATFORM_NOT_FOUND (-1001)

// Whether a loader is open (opening it if this is the first call). If not, and `reason` is not null, `*reason` becomes
// the dynamic linker's explanation; the text lives as long as the process.
bool wb_opencl_available(const char **reason);

// The name of the library that was opened, or null.
const char *wb_opencl_library(void);

// The one list of forwarded functions.
//   STATUS(name, parameters, arguments): returns a status code.
//   OBJECT(type, name, parameters, arguments): returns an object, and a status through its last parameter, `status`.
#define WB_OPENCL_FUNCTIONS(STATUS, OBJECT)                                                                            \
    STATUS(clGetPlatformIDs, (cl_uint room, cl_platform_id *platforms, cl_uint *count), (room, platforms, count))      \
    STATUS(clGetPlatformInfo,                                                                                          \
           (cl_platform_id platform, cl_platform_info key, size_t room, void *value, size_t *size),                    \
           (platform, key, room, value, size))                                                                         \
    STATUS(clGetDeviceIDs,                                                                                             \
           (cl_platform_id platform, cl_device_type type, cl_uint room, cl_device_id *devices, cl_uint *count),        \
           (platform, type, room, devices, count))                                                                     \
    STATUS(clGetDeviceInfo, (cl_device_id device, cl_device_info key, size_t room, void *value, size_t *size),         \
           (device, key, room, value, size))                                                                           \
                                                                                                                       \
    OBJECT(cl_context, clCreateContext,                                                                                \
           (const cl_context_properties *properties, cl_uint count, const cl_device_id *devices,                       \
            void (*notify)(const char *, const void *, size_t, void *), void *user, cl_int *status),                   \
           (properties, count, devices, notify, user, status))                                                         \
    STATUS(clReleaseContext, (cl_context context), (context))                                                          \
    OBJECT(cl_command_queue, clCreateCommandQueue,                                                                     \
           (cl_context context, cl_device_id device, cl_command_queue_properties properties, cl_int *status),          \
           (context, device, properties, status))                                                                      \
    STATUS(clReleaseCommandQueue, (cl_command_queue queue), (queue))                                                   \
                                                                                                                       \
    OBJECT(cl_mem, clCreateBuffer,                                                                                     \
           (cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *status),                          \
           (context, flags, size, host, status))                                                                       \
    OBJECT(cl_mem, clCreateSubBuffer,                                                                                  \
           (cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type, const void *region, cl_int *status),        \
           (buffer, flags, type, region, status))                                                                      \
    STATUS(clReleaseMemObject, (cl_mem memory), (memory))                                                              \
                                                                                                                       \
    OBJECT(cl_program, clCreateProgramWithSource,                                                                      \
           (cl_context context, cl_uint count, const char **texts, const size_t *lengths, cl_int *status),             \
           (context, count, texts, lengths, status))                                                                   \
    OBJECT(cl_program, clCreateProgramWithBinary,                                                                      \
           (cl_context context, cl_uint count, const cl_device_id *devices, const size_t *lengths,                     \
            const unsigned char **binaries, cl_int *loaded, cl_int *status),                                           \
           (context, count, devices, lengths, binaries, loaded, status))                                               \
    STATUS(clBuildProgram,                                                                                             \
           (cl_program program, cl_uint count, const cl_device_id *devices, const char *options,                       \
            void (*notify)(cl_program, void *), void *user),                                                           \
           (program, count, devices, options, notify, user))                                                           \
    STATUS(clGetProgramInfo, (cl_program program, cl_program_info key, size_t room, void *value, size_t *size),        \
           (program, key, room, value, size))                                                                          \
    STATUS(clGetProgramBuildInfo,                                                                                      \
           (cl_program program, cl_device_id device, cl_program_build_info key, size_t room, void *value,              \
            size_t *size),                                                                                             \
           (program, device, key, room, value, size))                                                                  \
    STATUS(clReleaseProgram, (cl_program program), (program))                                                          \
                                                                                                                       \
    OBJECT(cl_kernel, clCreateKernel, (cl_program program, const char *name, cl_int *status),                          \
           (program, name, status))                                                                                    \
    STATUS(clReleaseKernel, (cl_kernel kernel), (kernel))                                                              \
    STATUS(clSetKernelArg, (cl_kernel kernel, cl_uint index, size_t size, const void *value),                          \
           (kernel, index, size, value))                                                                               \
    STATUS(clGetKernelInfo, (cl_kernel kernel, cl_kernel_info key, size_t room, void *value, size_t *size),            \
           (kernel, key, room, value, size))                                                                           \
    STATUS(clGetKernelWorkGroupInfo,                                                                                   \
           (cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info key, size_t room, void *value,            \
            size_t *size),                                                                                             \
           (kernel, device, key, room, value, size))                                                                   \
                                                                                                                       \
    STATUS(clEnqueueNDRangeKernel,                                                                                     \
           (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,  \
            const size_t *local, cl_uint waits, const cl_event *waitList, cl_event *event),                            \
           (queue, kernel, dimensions, offset, global, local, waits, waitList, event))                                 \
    STATUS(clEnqueueReadBuffer,                                                                                        \
           (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, void *host,           \
            cl_uint waits, const cl_event *waitList, cl_event *event),                                                 \
           (queue, buffer, blocking, offset, size, host, waits, waitList, event))                                      \
    STATUS(clEnqueueWriteBuffer,                                                                                       \
           (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, const void *host,     \
            cl_uint waits, const cl_event *waitList, cl_event *event),                                                 \
           (queue, buffer, blocking, offset, size, host, waits, waitList, event))                                      \
    STATUS(clEnqueueCopyBuffer,                                                                                        \
           (cl_command_queue queue, cl_mem source, cl_mem target, size_t sourceOffset, size_t targetOffset,            \
            size_t size, cl_uint waits, const cl_event *waitList, cl_event *event),                                    \
           (queue, source, target, sourceOffset, targetOffset, size, waits, waitList, event))                          \
    STATUS(clEnqueueFillBuffer,                                                                                        \
           (cl_command_queue queue, cl_mem buffer, const void *pattern, size_t patternSize, size_t offset,             \
            size_t size, cl_uint waits, const cl_event *waitList, cl_event *event),                                    \
           (queue, buffer, pattern, patternSize, offset, size, waits, waitList, event))                                \
    OBJECT(void *, clEnqueueMapBuffer,                                                                                 \
           (cl_command_queue queue, cl_mem buffer, cl_bool blocking, cl_map_flags flags, size_t offset, size_t size,   \
            cl_uint waits, const cl_event *waitList, cl_event *event, cl_int *status),                                 \
           (queue, buffer, blocking, flags, offset, size, waits, waitList, event, status))                             \
    STATUS(clEnqueueUnmapMemObject,                                                                                    \
           (cl_command_queue queue, cl_mem memory, void *mapped, cl_uint waits, const cl_event *waitList,              \
            cl_event *event),                                                                                          \
           (queue, memory, mapped, waits, waitList, event))                                                            \
    STATUS(clEnqueueMarkerWithWaitList,                                                                                \
           (cl_command_queue queue, cl_uint waits, const cl_event *waitList, cl_event *event),                         \
           (queue, waits, waitList, event))                                                                            \
    STATUS(clEnqueueBarrierWithWaitList,                                                                               \
           (cl_command_queue queue, cl_uint waits, const cl_event *waitList, cl_event *event),                         \
           (queue, waits, waitList, event))                                                                            \
    STATUS(clFlush, (cl_command_queue queue), (queue))                                                                 \
    STATUS(clFinish, (cl_command_queue queue), (queue))                                                                \
                                                                                                                       \
    STATUS(clWaitForEvents, (cl_uint count, const cl_event *events), (count, events))                                  \
    STATUS(clGetEventInfo, (cl_event event, cl_event_info key, size_t room, void *value, size_t *size),                \
           (event, key, room, value, size))                                                                            \
    STATUS(clReleaseEvent, (cl_event event), (event))

#define WB_DECLARE_STATUS(name, parameters, arguments) cl_int wb_##name parameters;
#define WB_DECLARE_OBJECT(type, name, parameters, arguments) type wb_##name parameters;
WB_OPENCL_FUNCTIONS(WB_DECLARE_STATUS, WB_DECLARE_OBJECT)
#undef WB_DECLARE_STATUS
#undef WB_DECLARE_OBJECT

#endif
