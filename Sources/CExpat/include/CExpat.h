// Reads XML by libexpat, which is opened with the first file: few files are XML, and where none is the library need not be there.
#ifndef WHITEBOX_CEXPAT_H
#define WHITEBOX_CEXPAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether the library is there. If not, `why` says why.
bool wb_xml_available(const char **why);

// What is told of a document, in its order. Texts come in pieces, those of CDATA sections too. False from `end` ends it.
typedef struct {
    void *context;
    void (*begin)(void *context, const char *element);
    void (*text)(void *context, const char *bytes, size_t count);
    bool (*end)(void *context, const char *element);
} wb_xml_reader;

// Reads a whole document. Returns 0, or the number of the line where it is no XML any more, or where it was ended.
size_t wb_xml_read(const void *bytes, size_t count, const wb_xml_reader *reader);

#endif
