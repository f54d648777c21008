/* SPDX-License-Identifier: BSD-3-Clause */
/* errormsg.h -- the sentence behind an error code, one per thread */
#ifndef DAXCORE_ERRORMSG_H
#define DAXCORE_ERRORMSG_H

#include "compiler.h"

/* Store the sentence; never fails, a long one is cut. */
void set_errormsg(const char *fmt, ...) __printf(1, 2) __cold;

const char *errormsg(void);

/* A call begins: what an earlier one said is not about it. */
void clear_errormsg(void);

/* `return dax_error(-EINVAL, "size %d ...", size);`  A macro, so that the
 * compiler sees that the result is @err. */
#define dax_error(err, ...) (set_errormsg(__VA_ARGS__), (err))

#endif
