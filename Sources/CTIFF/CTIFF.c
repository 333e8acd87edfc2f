#include "CTIFF.h"

#include <CSystem.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_open;
static char reason[512];

// The functions of libtiff that are called. The header is its own, so types cannot disagree.
#define FUNCTIONS(F)                                                                                                   \
    F(TIFFClientOpenExt)                                                                                               \
    F(TIFFClose)                                                                                                       \
    F(TIFFComputeStrip)                                                                                                \
    F(TIFFComputeTile)                                                                                                 \
    F(TIFFGetField)                                                                                                    \
    F(TIFFGetFieldDefaulted)                                                                                           \
    F(TIFFIsTiled)                                                                                                     \
    F(TIFFOpenOptionsAlloc)                                                                                            \
    F(TIFFOpenOptionsFree)                                                                                             \
    F(TIFFOpenOptionsSetErrorHandlerExtR)                                                                              \
    F(TIFFOpenOptionsSetMaxSingleMemAlloc)                                                                             \
    F(TIFFOpenOptionsSetWarningHandlerExtR)                                                                            \
    F(TIFFRGBAImageBegin)                                                                                              \
    F(TIFFRGBAImageEnd)                                                                                                \
    F(TIFFRGBAImageGet)                                                                                                \
    F(TIFFReadEncodedStrip)                                                                                            \
    F(TIFFReadEncodedTile)                                                                                             \
    F(TIFFScanlineSize64)                                                                                              \
    F(TIFFSetField)                                                                                                    \
    F(TIFFStripSize64)                                                                                                 \
    F(TIFFTileRowSize64)                                                                                               \
    F(TIFFTileSize64)

#define POINTER(name) static typeof(name) *p_##name;
FUNCTIONS(POINTER)
#undef POINTER

#define FUNCTION(name) {#name, (void **)&p_##name},
static const wb_function functions[] = {FUNCTIONS(FUNCTION)};
#undef FUNCTION

static void open_library(void) {
    is_open = wb_open_library("libtiff.so.6", functions, sizeof functions / sizeof *functions, reason, sizeof reason);
}

bool wb_tiff_available(const char **why) {
    pthread_once(&once, open_library);
    if (why) *why = is_open ? NULL : reason;
    return is_open;
}

struct wb_tiff {
    TIFF *tiff;
    const uint8_t *bytes;
    size_t count, position;
    char problem[256];
};

// MARK: What libtiff asks for

static void note(wb_tiff *file, const char *format, va_list arguments) {
    if (!file->problem[0]) vsnprintf(file->problem, sizeof file->problem, format, arguments);
}

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments) {
    (void)tiff, (void)module;
    note(user, format, arguments);
    return 1; // nobody else need hear of it
}

// Most warnings tell of unknown tags. These tell of pixels that are made up.
static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list arguments) {
    (void)tiff;
    bool is_lost = (module && strcmp(module, "JPEGLib") == 0) || strstr(format, "remature EOF");
    if (is_lost) note(user, format, arguments);
    return 1;
}

static tmsize_t read_some(thandle_t handle, void *target, tmsize_t size) {
    wb_tiff *file = handle;
    size_t left = file->position < file->count ? file->count - file->position : 0;
    size_t count = size < 0 ? 0 : (size_t)size < left ? (size_t)size : left;
    memcpy(target, file->bytes + (count ? file->position : 0), count);
    file->position += count;
    return (tmsize_t)count;
}

static tmsize_t write_nothing(thandle_t handle, void *source, tmsize_t size) {
    (void)handle, (void)source, (void)size;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    wb_tiff *file = handle;
    uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file->position : file->count;
    file->position = base + offset;
    return file->position;
}

static int close_nothing(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) { return ((wb_tiff *)handle)->count; }

// libtiff reads from the bytes themselves then, and copies nothing. It never writes to what is mapped.
static int map(thandle_t handle, void **base, toff_t *size) {
    wb_tiff *file = handle;
    *base = (void *)file->bytes;
    *size = file->count;
    return 1;
}

static void unmap(thandle_t handle, void *base, toff_t size) { (void)handle, (void)base, (void)size; }

// MARK: Files

wb_tiff *wb_tiff_open(const uint8_t *bytes, size_t count, size_t largest) {
    wb_tiff *file = calloc(1, sizeof *file);
    TIFFOpenOptions *options = wb_tiff_available(NULL) ? p_TIFFOpenOptionsAlloc() : NULL;
    if (!file || !options) {
        if (options) p_TIFFOpenOptionsFree(options);
        free(file);
        return NULL;
    }
    file->bytes = bytes;
    file->count = count;
    p_TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)largest);
    p_TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, file);
    p_TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, file);
    file->tiff = p_TIFFClientOpenExt("picture", "rM", file, read_some, write_nothing, seek, close_nothing, size_of, map,
                                     unmap, options);
    p_TIFFOpenOptionsFree(options);
    return file;
}

void wb_tiff_close(wb_tiff *file) {
    if (file->tiff) p_TIFFClose(file->tiff);
    free(file);
}

const char *wb_tiff_problem(const wb_tiff *file) { return file->problem[0] ? file->problem : NULL; }

bool wb_tiff_describe(wb_tiff *file, wb_tiff_facts *facts) {
    TIFF *tiff = file->tiff;
    if (!tiff) return false;
    *facts = (wb_tiff_facts){.extra = -1};
    uint16_t planar = PLANARCONFIG_CONTIG, count = 0, *kinds = NULL;
    if (!p_TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &facts->width) ||
        !p_TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &facts->height))
        return false;
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &facts->bits);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &facts->samples);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &facts->sample_format);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &facts->compression);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &facts->orientation);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    p_TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &facts->photometric);
    p_TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &facts->rows_per_strip);
    if (p_TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) && count && kinds) facts->extra = kinds[0];
    facts->is_planar = planar == PLANARCONFIG_SEPARATE && facts->samples > 1;
    if (facts->photometric == PHOTOMETRIC_YCBCR) {
        // What is inside as JPEG is made RGB by that decoder.
        if (facts->compression == COMPRESSION_JPEG && !facts->is_planar && facts->samples == 3) {
            p_TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        } else {
            // Where each pixel has all three as bytes, they can be had like any other samples.
            uint16_t across = 2, down = 2;
            p_TIFFGetFieldDefaulted(tiff, TIFFTAG_YCBCRSUBSAMPLING, &across, &down);
            facts->is_rgba = facts->compression != COMPRESSION_NONE || across != 1 || down != 1;
        }
    }
    if (p_TIFFIsTiled(tiff)) {
        p_TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &facts->tile_width);
        p_TIFFGetField(tiff, TIFFTAG_TILELENGTH, &facts->tile_height);
        facts->block_size = p_TIFFTileSize64(tiff);
        facts->row_size = p_TIFFTileRowSize64(tiff);
    } else {
        facts->block_size = p_TIFFStripSize64(tiff);
        facts->row_size = p_TIFFScanlineSize64(tiff);
    }
    return true;
}

bool wb_tiff_palette(wb_tiff *file, const uint16_t **red, const uint16_t **green, const uint16_t **blue) {
    return p_TIFFGetField(file->tiff, TIFFTAG_COLORMAP, red, green, blue) == 1;
}

bool wb_tiff_read(wb_tiff *file, uint32_t x, uint32_t y, uint16_t plane, uint8_t *target, size_t size) {
    TIFF *tiff = file->tiff;
    tmsize_t done;
    if (p_TIFFIsTiled(tiff)) {
        done = p_TIFFReadEncodedTile(tiff, p_TIFFComputeTile(tiff, x, y, 0, plane), target, (tmsize_t)size);
    } else {
        done = p_TIFFReadEncodedStrip(tiff, p_TIFFComputeStrip(tiff, y, plane), target, (tmsize_t)size);
    }
    return done == (tmsize_t)size;
}

bool wb_tiff_read_rgba(wb_tiff *file, uint32_t width, uint32_t height, uint32_t *target) {
    char message[1024] = "";
    TIFFRGBAImage image;
    if (!p_TIFFRGBAImageBegin(&image, file->tiff, 1, message)) {
        if (!file->problem[0]) snprintf(file->problem, sizeof file->problem, "%.200s", message);
        return false;
    }
    image.req_orientation = image.orientation;
    int done = p_TIFFRGBAImageGet(&image, target, width, height);
    p_TIFFRGBAImageEnd(&image);
    return done == 1;
}
