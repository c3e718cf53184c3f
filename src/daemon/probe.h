/* Does our own server answer? The one question the supervisor asks over HTTP. */
#ifndef DAEMON_PROBE_H
#define DAEMON_PROBE_H

/*
 * The status of GET url, 0 when there is no answer within timeout_ms. Certificates are not judged.
 */
long probe_status(const char *url, long timeout_ms);

#endif
