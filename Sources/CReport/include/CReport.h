// The page of a report, embedded in the program.
#pragma once

// The text of report.html, report.css or report.js, or NULL.
const char *wb_report_source(const char *name);
