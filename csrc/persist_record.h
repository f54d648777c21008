/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * persist_record.h -- a medium that writes down what happens to it
 *
 * The table of a device of memory that is treated as persistent memory: each
 * store, flush and fence is appended to a log, in the order in which they took
 * effect.  What the medium may hold after a power loss follows from the log;
 * nothing here says what that is (daxcore/testing.py does).
 */
#ifndef DAXCORE_PERSIST_RECORD_H
#define DAXCORE_PERSIST_RECORD_H

#include "persist.h"

struct record_log;

extern const struct persist_ops persist_record;

/* 0 or -ENOMEM.  Freeing NULL is nothing. */
int record_log_new(struct record_log **ret_log);
void record_log_free(struct record_log *log);

/* The calls of daxcore.h. */
int64_t record_log_length(struct dax_device *dev);
int64_t record_log_read(struct dax_device *dev, uint64_t first,
			struct dax_record *buf, size_t nr);
int64_t record_log_data(struct dax_device *dev, uint64_t data, void *buf,
			size_t len);
int record_log_reset(struct dax_device *dev);

#endif
