/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * percpu.h -- per-thread areas of an object, and a lock built on them
 *
 * An object that many threads use at once (a file) has an area for each
 * thread that ever used it.  Only its thread writes an area, so counting is
 * a load and a store, and taking a percpu_rwsem for reading is two stores
 * and a load: no atomic read-modify-write, no line that two threads write.
 * The price is on the other side: reading a counter sums the areas, taking
 * the lock for writing is a membarrier and a walk.
 *
 *   struct percpu --> area of thread A --> area of thread B --> NULL
 *                     reading              reading
 *                     count[]              count[]
 *
 * The name is the kernel's (percpu counters, percpu-rwsem); threads stand in
 * for CPUs, since userspace cannot keep from being moved between two
 * instructions.
 */
#ifndef DAXCORE_PERCPU_H
#define DAXCORE_PERCPU_H

#include <errno.h>

#include "stats.h"
#include "sys.h"

enum { PERCPU_CACHE = 4 };

/* Bytes of a file that lie together, as a thread met them last: see rw.c. */
struct rw_run {
	dax_loff_t start;
	uint64_t length;		/* 0: it may be asked for, not used */
	uintptr_t kaddr;		/* of byte 0 of the file, 0: unknown */
	uint64_t layout_seq;		/* true while the file's is this */
	uint64_t further;		/* pages asked for behind the last piece */
};

struct percpu_area {
	_Atomic uint32_t reading;	/* the object's percpu_rwsem is held */
	_Atomic uint32_t accessing;	/* odd: inside a frame, see below */
	_Atomic uint32_t i_rwsem_held;	/* see biased_rwsem.h */
	struct rw_run run;		/* owner only */
	_Atomic uint64_t count[DAX_NR_STATS];
	_Atomic(const void *) owner;	/* thread, NULL: to be taken over */
	struct percpu_area *next;	/* set before it is published */
} __aligned(FALSE_SHARING);

struct percpu {
	uint64_t id;			/* never used twice in a process */
	_Atomic(struct percpu_area *) areas;
	struct percpu *registered;	/* list of all, guarded by registry */
	struct mutex lock;		/* adding areas */
};

int percpu_init(struct percpu *percpu);

/* No thread may be using the object any more. */
void percpu_fini(struct percpu *percpu);

/* Around fork(): the registry is whole in parent and child; in the child
 * nobody is adding an area to anything. */
void percpu_fork_prepare(void);
void percpu_fork_done(void);
void percpu_fork_child(void);

/* The calling thread's area if it has one; makes none. */
struct percpu_area *percpu_find_area(struct percpu *percpu);

/* What the calling thread used last: the areas of up to four objects. */
struct percpu_cache {
	uint64_t id;
	struct percpu_area *area;
};
extern __thread struct percpu_cache percpu_cache[PERCPU_CACHE];

struct percpu_area *percpu_area_slow(struct percpu *percpu);

/* The calling thread's area if it used the object lately, or NULL. */
static inline struct percpu_area *percpu_peek(struct percpu *percpu)
{
	struct percpu_cache *c = &percpu_cache[percpu->id % PERCPU_CACHE];

	return likely(c->id == percpu->id) ? c->area : NULL;
}

/* The calling thread's area, NULL if memory ran out when it was made. */
static inline struct percpu_area *this_percpu(struct percpu *percpu)
{
	struct percpu_cache *c = &percpu_cache[percpu->id % PERCPU_CACHE];

	if (likely(c->id == percpu->id))
		return c->area;
	return percpu_area_slow(percpu);
}

static inline void percpu_add(struct percpu_area *area, unsigned int stat,
			      uint64_t n)
{
	WRITE_ONCE(area->count[stat], READ_ONCE(area->count[stat]) + n);
}

static inline void percpu_inc(struct percpu_area *area, unsigned int stat)
{
	percpu_add(area, stat, 1);
}

uint64_t percpu_sum(struct percpu *percpu, unsigned int stat);

/* ---- inside a frame ------------------------------------------------------ */

/*
 * Between the last look at a leaf and the last byte moved through it a thread
 * is inside a frame.  Nothing in there sleeps or takes a lock, so whoever took
 * the leaf away can wait for those who saw it: percpu_synchronize() is what a
 * TLB shootdown is to the kernel.
 */
static inline void percpu_access_begin(struct percpu_area *area)
{
	WRITE_ONCE(area->accessing, READ_ONCE(area->accessing) + 1);
	asym_barrier_light();
}

static inline void percpu_access_end(struct percpu_area *area)
{
	smp_store_release(&area->accessing, READ_ONCE(area->accessing) + 1);
}

/* Wait until everybody who was inside a frame has left it. */
void percpu_synchronize(struct percpu *percpu);

/* ---- the lock --------------------------------------------------------- */

enum percpu_rwsem_state {
	PERCPU_RWSEM_READERS,	/* readers come and go */
	PERCPU_RWSEM_WRITER,	/* a writer waits or holds */
	PERCPU_RWSEM_STALE	/* for good: this is a forked child */
};

struct percpu_rwsem {
	_Atomic uint32_t state;		/* readers load it, mostly shared */
	struct percpu *percpu;
	_Atomic uint32_t drained __aligned(FALSE_SHARING);
	struct mutex writer;
	_Atomic(const void *) owner;	/* the thread that holds it for writing */
};

void percpu_init_rwsem(struct percpu_rwsem *sem, struct percpu *percpu);

int percpu_down_read_slow(struct percpu_rwsem *sem, struct percpu_area *area);
void percpu_up_read_slow(struct percpu_rwsem *sem);

/*
 * 0; -EDEADLK: the thread holds it already (it came back through a block
 * map); -ESTALE: forked child.  Sleeps while a writer holds it.
 */
static inline int percpu_down_read(struct percpu_rwsem *sem,
				   struct percpu_area *area)
{
	if (unlikely(READ_ONCE(area->reading)))
		return -EDEADLK;
	WRITE_ONCE(area->reading, 1);
	asym_barrier_light();
	dax_test_yield(DAX_TEST_RWSEM_READ);
	if (likely(smp_load_acquire(&sem->state) == PERCPU_RWSEM_READERS))
		return 0;
	return percpu_down_read_slow(sem, area);
}

static inline void percpu_up_read(struct percpu_rwsem *sem,
				  struct percpu_area *area)
{
	smp_store_release(&area->reading, 0);
	asym_barrier_light();
	if (unlikely(READ_ONCE(sem->state) != PERCPU_RWSEM_READERS))
		percpu_up_read_slow(sem);
}

/* Does a writer wait for the readers to leave? */
static inline bool percpu_rwsem_is_contended(const struct percpu_rwsem *sem)
{
	return READ_ONCE(sem->state) != PERCPU_RWSEM_READERS;
}

/* 0; -EDEADLK: the thread holds it, for reading or writing; -ESTALE.
 * Returns when every reader has left. */
int percpu_down_write(struct percpu_rwsem *sem);
void percpu_up_write(struct percpu_rwsem *sem);

/* Does the calling thread hold it for writing? */
bool percpu_is_writer(const struct percpu_rwsem *sem);

/* In a forked child: every later attempt gets -ESTALE. */
void percpu_rwsem_set_stale(struct percpu_rwsem *sem);

#endif
