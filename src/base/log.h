/*
 * One line per event on stderr: time, level, subject first, key=value behind. Library folders never
 * log; programs and handlers do, once per failure. Levels: error = someone must act, warn = we went
 * on and say so, info = state changed, debug.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Default LOG_INFO. Lines above the level are dropped. */
void log_set_level(enum log_level level);
/*
 * subject: "ws=<id>", "org=<id>", "purserd" ... Control characters in the line are replaced by '?'.
 */
void log_line(enum log_level level, const char *subject, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_error(subject, ...) log_line(LOG_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...) log_line(LOG_WARN, subject, __VA_ARGS__)
#define log_info(subject, ...) log_line(LOG_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_line(LOG_DEBUG, subject, __VA_ARGS__)

#endif
