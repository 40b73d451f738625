/* One line per event on stderr: time, level, words. Never tokens; prompt texts only at debug level.
 *
 * Thread-safety: any thread; a line is written by one call. */
#ifndef KT_SERVER_LOG_H
#define KT_SERVER_LOG_H

enum kt_log_level { KT_LOG_ERROR, KT_LOG_WARN, KT_LOG_INFO, KT_LOG_DEBUG };

struct kt_log {
    enum kt_log_level level; /* lines above it are dropped; fixed after start */
};

void kt_log(const struct kt_log *log, enum kt_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
