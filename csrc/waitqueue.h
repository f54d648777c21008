/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waitqueue.h -- hashed wait table: who sleeps for which entry
 *
 * A key is an owner and an index; 4096 buckets are shared by all keys of the
 * process.  Waiters are exclusive and first come first served among those of
 * one key; a wake-up never goes to a waiter of another key.
 *
 * Kernel: fs/dax.c wait_table, wait_exceptional_entry_queue and
 * wake_exceptional_entry_func (v4.14).
 */
#ifndef DAXCORE_WAITQUEUE_H
#define DAXCORE_WAITQUEUE_H

#include "daxcore/types.h"
#include "sys.h"

enum { DAX_WAIT_TABLE_BITS = 12, DAX_WAIT_TABLE_ENTRIES = 1 << 12 };

enum dax_wake_mode {
	WAKE_NEXT,	/* the entry became unlocked */
	WAKE_ALL	/* the entry is gone or has another size */
};

struct exceptional_entry_key {
	const void *owner;	/* the mapping */
	dax_pgoff_t entry_start;
};

/* On the stack of the sleeping thread. */
struct wait_entry {
	struct exceptional_entry_key key;
	struct wait_entry *next;	/* guarded by the bucket lock */
	struct wait_entry **link;	/* NULL: not queued */
	_Atomic uint32_t woken;		/* set last by the waker */
};

/* Queue at the tail.  The caller then looks at the entry again, and either
 * sleeps or finishes. */
void prepare_to_wait_exclusive(struct wait_entry *wait,
			       struct exceptional_entry_key key);

/* Sleep until woken. */
void wait_schedule(struct wait_entry *wait);

/* Leave the queue.  Return: true if a wake-up was spent on this waiter. */
bool finish_wait(struct wait_entry *wait);

/* Wake the first waiter of @key, or all.  Return: how many. */
unsigned int wake_up_key(struct exceptional_entry_key key,
			 enum dax_wake_mode mode);

/* In a forked child: nobody waits, no bucket is locked. */
void waitqueue_fork_child(void);

/* For tests and invariants: waiters of @key, of all keys of @owner (NULL: of
 * everybody), bucket number of @key. */
unsigned int wait_count(struct exceptional_entry_key key);
unsigned int wait_count_owner(const void *owner);
unsigned int wait_bucket(struct exceptional_entry_key key);

#endif
