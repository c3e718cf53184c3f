/* The answering half of a connection: one call, rendered and sent step by step. */
#ifndef SIM_REPLY_H
#define SIM_REPLY_H

#include "sim/conn.h"

/* Takes a whole request and begins to answer it. */
void sim_reply_start(struct sim_conn *c, const struct sim_head *h, struct str body);
/* Renders and sends as far as time and the socket allow; ends the call when all is out. */
void sim_reply_run(struct sim_conn *c);
/* Books the open call, if there is one, and makes the connection ready for the next. */
void sim_reply_end(struct sim_conn *c, enum sim_outcome outcome);
/* The peer left: books that and gives the connection up. */
void sim_reply_abort(struct sim_conn *c);

#endif
