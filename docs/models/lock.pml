/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.pml -- actors around the entries of 2 MiB: grab, wait, clean, delete
 *
 * Each does one operation and ends, since the wake-ups of a next one would heal
 * one that was lost.  START says what is there before: PTE entries, a PMD data
 * entry, an empty PMD entry (DOWNGRADE; then no PTE fault asks for page 0, whose
 * key the PMD entry has), or anything (MIXED).
 */
#ifndef ACTORS
#define ACTORS	3
#endif
#define PTE	1
#define PMD	2
#define DOWNGRADE 3
#define MIXED	4
#ifndef START
#define START	PTE
#endif
#ifndef PAGES
#define PAGES	2
#endif

#define unmap_mapping_pages(slot)	skip

#include "entry_lock.pml"

/* Operation times PAGES plus page: what an actor does. */
#define FAULT		0
#define PMD_FAULT	1
#define WRITEBACK	2
#define DELETE		3
#define NR_OPERATIONS	4

/* As in fault.c: an entry that is not data yet gets its block. */
inline fault(want)
{
	grab_mapping_entry(want);
	if
	:: ret == 0 ->
		if
		:: !(entry & DATA) -> dax_replace_entry(DATA)
		:: else
		fi;
		d_step { drain(); dirty[at] = 1 };
		put_locked_mapping_entry()
	:: else
	fi
}

/* writeback.c, batch_add(), and who finds it clean before it waits. */
inline writeback()
{
	lock_slot_if(is_entry(entry) && dirty[at]);
	if
	:: ret -> d_step { drain(); dirty[at] = 0 }; put_locked_mapping_entry()
	:: else
	fi
}

/* invalidate.c, invalidate_entry() */
inline delete()
{
	lock_slot_if(is_entry(entry));
	if
	:: ret -> dax_delete_locked_entry()
	:: else
	fi
}

proctype actor(byte me; byte what)
{
	ACTOR_LOCALS;

	d_step { index = what % PAGES; what = what / PAGES };
	if
	:: what == FAULT -> fault(WANT_PTE)
	:: what == PMD_FAULT -> index = 0; fault(WANT_PMD)
	:: what == WRITEBACK -> writeback()
	:: what == DELETE -> delete()
	fi;
	drain()
}

inline start()
{
	if
	:: START == PTE -> tree[UPPER] = NODE; tree[0] = DATA; dirty[0] = 1
	:: START == PMD || START == MIXED -> tree[UPPER] = DATA; dirty[UPPER] = 1
	:: START == DOWNGRADE || START == MIXED -> tree[UPPER] = EMPTY
	:: START == MIXED -> tree[UPPER] = ABSENT
	:: START == MIXED -> tree[UPPER] = NODE; tree[0] = DATA
	fi
}

/* One size of fault where the start is of one size. */
#define possible(what) \
	(!(START == PTE && (what) / PAGES == PMD_FAULT) && \
	 !(START == PMD && (what) / PAGES == FAULT) && \
	 !(START == DOWNGRADE && (what) == FAULT * PAGES))

/* Actors are alike: only their operations in rising order are told apart. */
init
{
	byte nr, what;

	atomic {
		start();
		do
		:: nr < ACTORS && possible(what) -> run actor(nr, what); nr++
		:: nr < ACTORS && what < NR_OPERATIONS * PAGES - 1 -> what++
		:: nr == ACTORS -> break
		od;
		nr = 0; what = 0
	};
	_nr_pr == 1;		/* all came to their end */
	d_step {
		do
		:: nr < PAGES ->
			assert(empty(queue[nr]) && !is_locked(tree[nr]) && !owned[nr]);
			nr++
		:: else -> break
		od;
		assert(!is_locked(tree[UPPER]) && nr_waiters == 0)
	}
}
