#include "CExpat.h"

#include <CSystem.h>
#include <expat.h>
#include <limits.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_open;
static char reason[512];

// The functions of libexpat that are called. The header is its own, so types cannot disagree.
#define FUNCTIONS(F)                                                                                                   \
    F(XML_ParserCreate)                                                                                                \
    F(XML_ParserFree)                                                                                                  \
    F(XML_Parse)                                                                                                       \
    F(XML_StopParser)                                                                                                  \
    F(XML_GetCurrentLineNumber)                                                                                        \
    F(XML_SetUserData)                                                                                                 \
    F(XML_SetElementHandler)                                                                                           \
    F(XML_SetCharacterDataHandler)

#define POINTER(name) static typeof(name) *p_##name;
FUNCTIONS(POINTER)
#undef POINTER

#define FUNCTION(name) {#name, (void **)&p_##name},
static const wb_function functions[] = {FUNCTIONS(FUNCTION)};
#undef FUNCTION

static void open_library(void) {
    is_open = wb_open_library("libexpat.so.1", functions, sizeof functions / sizeof *functions, reason, sizeof reason);
}

bool wb_xml_available(const char **why) {
    pthread_once(&once, open_library);
    if (why) *why = is_open ? NULL : reason;
    return is_open;
}

typedef struct {
    XML_Parser parser;
    const wb_xml_reader *reader;
} state;

static void on_begin(void *user, const XML_Char *element, const XML_Char **attributes) {
    (void)attributes;
    const state *s = user;
    s->reader->begin(s->reader->context, element);
}

static void on_text(void *user, const XML_Char *bytes, int count) {
    const state *s = user;
    s->reader->text(s->reader->context, bytes, (size_t)count);
}

static void on_end(void *user, const XML_Char *element) {
    const state *s = user;
    if (!s->reader->end(s->reader->context, element)) {
        // It may still tell of what it has read already, and nobody wants to hear it.
        p_XML_SetElementHandler(s->parser, NULL, NULL);
        p_XML_SetCharacterDataHandler(s->parser, NULL);
        p_XML_StopParser(s->parser, XML_FALSE);
    }
}

size_t wb_xml_read(const void *bytes, size_t count, const wb_xml_reader *reader) {
    if (!wb_xml_available(NULL) || count > INT_MAX) return 1;
    state s = {p_XML_ParserCreate(NULL), reader};
    if (!s.parser) return 1;
    p_XML_SetUserData(s.parser, &s);
    p_XML_SetElementHandler(s.parser, on_begin, on_end);
    p_XML_SetCharacterDataHandler(s.parser, on_text);
    bool is_read = p_XML_Parse(s.parser, bytes, (int)count, 1) == XML_STATUS_OK;
    size_t line = is_read ? 0 : (size_t)p_XML_GetCurrentLineNumber(s.parser);
    p_XML_ParserFree(s.parser);
    return is_read ? 0 : line > 0 ? line : 1;
}
