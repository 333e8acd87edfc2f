#include "CReport.h"

#include <stddef.h>
#include <string.h>

static const char html[] = {
#embed "report.html"
    , 0};
static const char css[] = {
#embed "report.css"
    , 0};
static const char js[] = {
#embed "report.js"
    , 0};

const char *wb_report_source(const char *name)
{
    if (strcmp(name, "report.html") == 0) return html;
    if (strcmp(name, "report.css") == 0) return css;
    if (strcmp(name, "report.js") == 0) return js;
    return NULL;
}
