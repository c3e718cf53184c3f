/* Starting one shim and handing it its order. */
#ifndef LAUNCH_HANDOVER_H
#define LAUNCH_HANDOVER_H

#include "launch/order.h"

#include <sys/types.h>

/*
 * Returns when the shim has said that the agent runs. *ret_shim is then a child of this process, to
 * be waited for. The texts of o end with NUL. On failure no shim is left; what an answerless one had started is the caller's to
 * find (settle.h).
 */
enum err handover(const struct launch_spec *spec, const struct launch_options *o, pid_t *ret_shim,
    struct error *e) MUST_CHECK;

#endif
