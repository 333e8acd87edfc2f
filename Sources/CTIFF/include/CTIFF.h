// TIFF files in memory through libtiff, which is opened at run time.
//
// Linked, it and the nine libraries that it brings would cost every start of the program nearly a millisecond, and the program would not
// start where they are missing. So libtiff.so.6 is opened with the first TIFF. Its functions that take a variable number of arguments, and its
// messages, cannot be had from Swift; here they are plain. Nothing is kept between files: each has its own messages and limits.
#ifndef WHITEBOX_CTIFF_H
#define WHITEBOX_CTIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether libtiff is open (opening it if this is the first call). If not, `*reason` becomes the dynamic linker's explanation, which lives as
// long as the process. May be called from any thread.
bool wb_tiff_available(const char **reason);

// A file; all else is called by one thread at a time.
typedef struct wb_tiff wb_tiff;

// What the first directory says, or what the format has for what it leaves out.
typedef struct {
    uint32_t width, height;
    // Of tiles, if there are any; else 0, and all of the width in strips of so many rows.
    uint32_t tile_width, tile_height, rows_per_strip;
    uint16_t bits, samples, sample_format, photometric, compression, orientation;
    bool is_planar; // each sample's plane by itself
    bool is_rgba;   // comes from `wb_tiff_read_rgba` only, since its samples are not the colours of pixels
    // What the first sample behind the colours is: 0 unknown, 1 opacity with which the colours are multiplied, 2 opacity. -1 if there is none.
    int extra;
    // Bytes of a whole strip or tile, of one plane if they are planar; and of a row of one.
    uint64_t block_size, row_size;
} wb_tiff_facts;

// Opens the file whose bytes these are; they must stay until it is closed. libtiff allocates nothing larger than `largest` bytes at once.
// Never null if wb_tiff_available, but for want of memory: what is wrong wb_tiff_problem says.
wb_tiff *wb_tiff_open(const uint8_t *bytes, size_t count, size_t largest);
void wb_tiff_close(wb_tiff *file);

// The first thing that libtiff found wrong, null if nothing.
const char *wb_tiff_problem(const wb_tiff *file);

bool wb_tiff_describe(wb_tiff *file, wb_tiff_facts *facts);

// The palette: 2^bits numbers of 16 bits for each colour. They live as long as the file.
bool wb_tiff_palette(wb_tiff *file, const uint16_t **red, const uint16_t **green, const uint16_t **blue);

// Decodes the strip or tile that holds the pixel (x, y), of the plane of one sample (0 if they are not planar), as samples of the machine's own byte
// order; no more than `size` bytes of it. Whether it has so many.
bool wb_tiff_read(wb_tiff *file, uint32_t x, uint32_t y, uint16_t plane, uint8_t *target, size_t size);

// Decodes the whole picture as libtiff's own pixels, `width * height` of them: red in the lowest byte. It is not turned upright.
bool wb_tiff_read_rgba(wb_tiff *file, uint32_t width, uint32_t height, uint32_t *target);

#endif
