/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waitqueue.c -- hashed wait table: who sleeps for which entry
 *
 * Owns: the buckets and the links of queued waiters.
 * Locks: a bucket lock is taken to queue, dequeue and wake; nobody sleeps
 *        holding one.  Innermost of all locks.
 * Kernel: fs/dax.c (v4.14), kernel/sched/wait.c.
 * Differs: futexes; each waiter sleeps on a word of its own.
 */
#include "waitqueue.h"

struct wait_queue_head {
	struct mutex lock;
	struct wait_entry *first;
	struct wait_entry **tail;	/* NULL until first used */
} __aligned(CACHELINE);

static struct wait_queue_head wait_table[DAX_WAIT_TABLE_ENTRIES];

unsigned int wait_bucket(struct exceptional_entry_key key)
{
	uint64_t hash = (uint64_t)(uintptr_t)key.owner ^ key.entry_start;

	/* hash_long() of the kernel: the 64-bit golden ratio. */
	return (unsigned int)(hash * UINT64_C(0x61C8864680B583EB) >>
			      (64 - DAX_WAIT_TABLE_BITS));
}

static bool same_key(struct exceptional_entry_key a,
		     struct exceptional_entry_key b)
{
	return a.owner == b.owner && a.entry_start == b.entry_start;
}

static struct wait_queue_head *lock_bucket(struct exceptional_entry_key key)
{
	struct wait_queue_head *head = &wait_table[wait_bucket(key)];

	mutex_lock(&head->lock);
	return head;
}

/* Bucket lock held. */
static void enqueue(struct wait_queue_head *head, struct wait_entry *wait)
{
	if (!head->tail)
		head->tail = &head->first;
	wait->next = NULL;
	wait->link = head->tail;
	*head->tail = wait;
	head->tail = &wait->next;
}

/* Bucket lock held. */
static void dequeue(struct wait_queue_head *head, struct wait_entry *wait)
{
	*wait->link = wait->next;
	if (wait->next)
		wait->next->link = wait->link;
	else
		head->tail = wait->link;
	wait->link = NULL;
}

void prepare_to_wait_exclusive(struct wait_entry *wait,
			       struct exceptional_entry_key key)
{
	struct wait_queue_head *head = lock_bucket(key);

	wait->key = key;
	atomic_init(&wait->woken, 0);
	enqueue(head, wait);
	mutex_unlock(&head->lock);
}

void wait_schedule(struct wait_entry *wait)
{
	while (!smp_load_acquire(&wait->woken))
		futex_wait(&wait->woken, 0);
}

bool finish_wait(struct wait_entry *wait)
{
	struct wait_queue_head *head;

	if (smp_load_acquire(&wait->woken))
		return true;
	head = lock_bucket(wait->key);
	if (wait->link)
		dequeue(head, wait);
	mutex_unlock(&head->lock);
	return smp_load_acquire(&wait->woken);
}

unsigned int wake_up_key(struct exceptional_entry_key key,
			 enum dax_wake_mode mode)
{
	struct wait_queue_head *head = lock_bucket(key);
	struct wait_entry *wait = head->first;
	unsigned int woken = 0;

	while (wait) {
		struct wait_entry *next = wait->next;

		if (same_key(wait->key, key)) {
			dequeue(head, wait);
			/* The waiter may be gone after this store; waking a
			 * word that nobody sleeps on harms nobody. */
			smp_store_release(&wait->woken, 1);
			futex_wake(&wait->woken, 1);
			woken++;
			if (mode == WAKE_NEXT)
				break;
		}
		wait = next;
	}
	mutex_unlock(&head->lock);
	return woken;
}

unsigned int wait_count(struct exceptional_entry_key key)
{
	struct wait_queue_head *head = lock_bucket(key);
	unsigned int count = 0;

	for (struct wait_entry *w = head->first; w; w = w->next)
		count += same_key(w->key, key);
	mutex_unlock(&head->lock);
	return count;
}

unsigned int wait_count_owner(const void *owner)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < DAX_WAIT_TABLE_ENTRIES; i++) {
		struct wait_queue_head *head = &wait_table[i];

		mutex_lock(&head->lock);
		for (struct wait_entry *w = head->first; w; w = w->next)
			count += !owner || w->key.owner == owner;
		mutex_unlock(&head->lock);
	}
	return count;
}

void waitqueue_fork_child(void)
{
	for (unsigned int i = 0; i < DAX_WAIT_TABLE_ENTRIES; i++) {
		mutex_reset(&wait_table[i].lock);
		wait_table[i].first = NULL;
		wait_table[i].tail = NULL;
	}
}
