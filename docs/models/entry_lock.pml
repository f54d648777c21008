/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * entry_lock.pml -- the steps of csrc/entry_lock.c and csrc/waitqueue.c
 *
 * One file of PAGES pages below one upper slot.  Inlines bear the names of the
 * C functions; README.md has them side by side.  The includer defines ACTORS
 * and PAGES, and what its entries mean to leaves (unmap_mapping_pages).  An
 * actor's locals are ACTOR_LOCALS; `me` is its number.
 */

/* Rules that can be taken out, as enum dax_test_mutation has them. */
#define NONE			0
#define WAKE_ONE_ON_DELETE	1
#define WAKE_ONE_ON_DOWNGRADE	2
#define NO_PASS_ON		3
#define NO_RECHECK		4	/* queued, asleep without a second look */
#define NO_LOOK_AFTER_WAKING	5	/* woken, locks what it was woken for */
#define KEY_NOT_ROUNDED		6	/* waits by its page, not by the entry's first */
#define PMD_WAITS_FOR_PTE	7	/* a PMD request sleeps while a PTE is locked */
#define NO_HEAVY_BARRIER	8
#define UNMAP_AFTER_REPLACE	9
#define UNMAP_AFTER_DELETE	10
#define UNMAP_AFTER_DOWNGRADE	11
#define ASK_BEFORE_LOCK		12	/* the block map is asked, then the entry locked */
#define INVALIDATE_BEFORE_BLOCK	13	/* a write invalidates, then takes its block */

#ifndef MUTATION
#define MUTATION	NONE
#endif
#define mutated(rule)	(MUTATION == rule)

/* Callers like those of v4.14 leave a gone entry without passing on. */
#ifndef MUTE_WHEN_GONE
#define MUTE_WHEN_GONE	0
#endif

/* ---- the tree ------------------------------------------------------------- */

/* A word: nothing, a pointer to the node of 4 KiB slots, or an entry. */
#define ABSENT	0
#define NODE	1
#define LOCKED	2
#define EMPTY	4
#define ZERO	8
#define DATA	16

#define UPPER	PAGES		/* the slot of a PMD entry, or of the node */
#define WANT_PTE 0
#define WANT_PMD 1

byte tree[PAGES + 1];
bit dirty[PAGES + 1];		/* the DIRTY tag */
bit owned[PAGES];		/* ghost: somebody holds this page's entry */

#define is_entry(word)		((word) > NODE)
#define is_locked(word)		((word) & LOCKED)
#define in_entry(page, slot)	((slot) == UPPER || (slot) == (page))

#define ACTOR_LOCALS \
	byte index;	/* slot->index */ \
	byte at;	/* slot->iter.slot */ \
	byte first;	/* slot->iter.index */ \
	byte entry;	/* slot->iter.entry */ \
	bit woken;	/* slot->woken */ \
	byte key;	/* slot->key */ \
	byte ret; byte p; byte who; byte word

/* The node, once there, stays while invalidate_lock is held shared. */
inline radix_tree_walk(want)
{
	d_step {
		entry = tree[UPPER]; at = UPPER; first = 0;
		if
		:: entry == NODE && want == WANT_PTE ->
			at = index; first = index; entry = tree[index]
		:: else
		fi
	}
}

/* Ghost: the entry at @slot is mine now, and was nobody's. */
inline own(slot)
{
	p = 0;
	do
	:: p < PAGES ->
		if
		:: in_entry(p, slot) -> assert(!owned[p]); owned[p] = 1
		:: else
		fi;
		p++
	:: else -> p = 0; break
	od
}

inline disown(slot)
{
	p = 0;
	do
	:: p < PAGES ->
		if
		:: in_entry(p, slot) -> assert(owned[p]); owned[p] = 0
		:: else
		fi;
		p++
	:: else -> p = 0; break
	od
}

/* ---- stores and barriers --------------------------------------------------- */

#ifndef STORE_BUFFERS

inline smp_store_release(slot, what) { tree[slot] = what }
inline drain() { skip }
#define MAY_DRAIN
#define ASYM_BARRIER_HEAVY

#else

/* x86: a store may wait in a buffer while its thread's later loads run; a heavy
 * barrier, or a read-modify-write of the thread itself, sends it off. */
chan buffer[ACTORS] = [2] of { byte, byte };

inline smp_store_release(slot, what) { buffer[me]!slot,what }

inline may_drain()
{
	do
	:: atomic { buffer[me]?p,word -> tree[p] = word; p = 0; word = 0 }
	:: break
	od;
	skip
}

#define MAY_DRAIN		may_drain();
#define ASYM_BARRIER_HEAVY	asym_barrier_heavy();

inline drain_of(actor)
{
	do
	:: nempty(buffer[actor]) -> buffer[actor]?p,word; tree[p] = word
	:: empty(buffer[actor]) -> break
	od;
	p = 0; word = 0
}

inline drain() { d_step { drain_of(me) } }

inline asym_barrier_heavy()
{
	d_step {
		who = 0;
		do
		:: who < ACTORS && !mutated(NO_HEAVY_BARRIER) -> drain_of(who); who++
		:: else -> who = 0; break
		od;
		drain_of(me)
	}
}

#endif

/* ---- waitqueue.c: a step is what the bucket lock makes one ------------------ */

#define WAKE_NEXT 0
#define WAKE_ALL 1

chan queue[PAGES] = [ACTORS] of { byte };	/* by key, first come first served */
bit wake[ACTORS];				/* wait_entry.woken */
byte nr_waiters;

inline prepare_to_wait_exclusive()
{
	d_step { drain(); queue[key]!me }
}

inline wait_schedule() { wake[me] == 1 }

inline finish_wait()
{
	d_step {
		if
		:: wake[me] -> woken = 1; wake[me] = 0
		:: else -> queue[key]??eval(me)
		fi
	}
}

inline wake_up_key(whose, mode)
{
	d_step {
		drain();
		do
		:: nempty(queue[whose]) ->
			queue[whose]?who; wake[who] = 1;
			if
			:: mode == WAKE_NEXT -> break
			:: else
			fi
		:: empty(queue[whose]) -> break
		od;
		who = 0
	}
}

/* ---- entry_lock.c: waiting ---------------------------------------------------- */

inline sleep_while_locked()
{
	prepare_to_wait_exclusive();
	nr_waiters++;
	ASYM_BARRIER_HEAVY
	if
	:: mutated(NO_RECHECK) || is_locked(tree[at]) -> wait_schedule()
	:: !mutated(NO_RECHECK) && !is_locked(tree[at]) -> skip
	fi;
	finish_wait();
	nr_waiters--
}

inline pass_on()
{
	if
	:: woken && !mutated(NO_PASS_ON) -> woken = 0; wake_up_key(key, WAKE_NEXT)
	:: else
	fi
}

/* However long it spins, what counts is the last look. */
inline wait_entry_unlocked()
{
	if
	:: woken && key != (mutated(KEY_NOT_ROUNDED) -> index : first) -> pass_on()
	:: else
	fi;
	key = (mutated(KEY_NOT_ROUNDED) -> index : first);
	if
	:: is_locked(tree[at]) -> sleep_while_locked()
	:: !is_locked(tree[at])
	fi
}

/* ---- taking and releasing ------------------------------------------------------ */

inline locked()
{
	if
	:: woken ->
		if
		:: key != first -> pass_on()
		:: else
		fi;
		woken = 0
	:: else
	fi;
	key = 0
}

#define unlooked	(mutated(NO_LOOK_AFTER_WAKING) && woken)

/* ret: whether it is ours. */
inline cmpxchg_lock()
{
	d_step {
		drain();
		if
		:: tree[at] == entry || unlooked ->
			entry = entry | LOCKED; tree[at] = entry; own(at); ret = 1
		:: else -> ret = 0
		fi
	}
}

inline dax_wake_mapping_entry_waiter(whose, mode)
{
	MAY_DRAIN			/* asym_barrier_light() */
	if
	:: nr_waiters > 0 -> MAY_DRAIN wake_up_key(whose, mode)
	:: nr_waiters == 0 -> MAY_DRAIN skip
	fi
}

inline put_locked_mapping_entry()
{
	d_step { disown(at); entry = entry & ~LOCKED; smp_store_release(at, entry) };
	dax_wake_mapping_entry_waiter(first, WAKE_NEXT)
}

inline put_unlocked_mapping_entry()
{
	if
	:: !(MUTE_WHEN_GONE && entry == ABSENT) -> pass_on()
	:: else
	fi;
	woken = 0; key = 0
}

inline dax_replace_entry(what)
{
	MAY_DRAIN
	d_step { entry = (what) | LOCKED; smp_store_release(at, entry) }
}

inline dax_delete_locked_entry()
{
	d_step { drain(); dirty[at] = 0 };
	d_step { disown(at); entry = ABSENT; smp_store_release(at, ABSENT) };
	if
	:: mutated(WAKE_ONE_ON_DELETE) -> dax_wake_mapping_entry_waiter(first, WAKE_NEXT)
	:: else -> dax_wake_mapping_entry_waiter(first, WAKE_ALL)
	fi
}

inline get_unlocked_mapping_entry()
{
	do
	:: radix_tree_walk(WANT_PTE);
		if
		:: !is_locked(entry) -> break
		:: else -> wait_entry_unlocked();
			if
			:: unlooked -> entry = entry & ~LOCKED; break
			:: else
			fi
		fi
	od
}

/* ret: 1, and @wanted of it is locked; 0: it did not, and nothing is. */
inline lock_slot_if(wanted)
{
	do
	:: get_unlocked_mapping_entry();
		if
		:: !(wanted) -> put_unlocked_mapping_entry(); ret = 0; break
		:: else -> cmpxchg_lock();
			if
			:: ret -> locked(); break
			:: else
			fi
		fi
	od
}

/* ---- grab ----------------------------------------------------------------------- */

#define AGAIN	1
#define EEXIST	2
#define ENOMEM	3

/* radix_tree_insert(): one compare-and-swap publishes a slot, or a node and the
 * slot in it.  ENOMEM: of a new node. */
inline grab_absent(want)
{
	atomic {
		drain();
		if
		:: tree[UPPER] == ABSENT && want == WANT_PMD -> at = UPPER; ret = 0
		:: tree[UPPER] == ABSENT && want == WANT_PTE ->
			tree[UPPER] = NODE; at = index; ret = 0
		:: tree[UPPER] == ABSENT && want == WANT_PTE -> ret = ENOMEM
		:: tree[UPPER] == NODE && want == WANT_PTE && tree[index] == ABSENT ->
			at = index; ret = 0
		:: else			/* -EEXIST: ret stays AGAIN */
		fi;
		if
		:: ret == 0 ->
			first = (at == UPPER -> 0 : at);
			entry = EMPTY | LOCKED; tree[at] = entry; own(at)
		:: else
		fi
	}
}

/* The new node is nobody's to see before its store. */
inline dax_downgrade_entry()
{
	if
	:: entry & ZERO && !mutated(UNMAP_AFTER_DOWNGRADE) -> unmap_mapping_pages(UPPER)
	:: else
	fi;
	if
	:: ret = 0;
		d_step {
			tree[index] = EMPTY | LOCKED; dirty[index] = 0;
			disown(UPPER); owned[index] = 1;
			smp_store_release(UPPER, NODE)
		};
		if
		:: entry & ZERO && mutated(UNMAP_AFTER_DOWNGRADE) ->
			unmap_mapping_pages(UPPER)
		:: else
		fi;
		if
		:: mutated(WAKE_ONE_ON_DOWNGRADE) ->
			dax_wake_mapping_entry_waiter(0, WAKE_NEXT)
		:: else -> dax_wake_mapping_entry_waiter(0, WAKE_ALL)
		fi;
		at = index; first = index; entry = EMPTY | LOCKED
	:: ret = ENOMEM
	fi
}

inline grab_entry(want)
{
	if
	:: is_locked(entry) && !unlooked -> wait_entry_unlocked();
		ret = AGAIN
	:: else -> entry = entry & ~LOCKED; cmpxchg_lock();
		if
		:: !ret -> ret = AGAIN
		:: ret && at == UPPER && want == WANT_PTE && !(entry & DATA) ->
			dax_downgrade_entry();
			if
			:: ret == ENOMEM -> put_locked_mapping_entry()
			:: else
			fi
		:: else -> ret = 0
		fi
	fi
}

/* Linux before v4.19: the key is the request's, the entry another's. */
inline wait_for_ptes()
{
	p = 0;
	do
	:: p < PAGES && !is_locked(tree[p]) -> p++
	:: p < PAGES && is_locked(tree[p]) -> at = p; p = 0;
		wait_entry_unlocked(); break
	:: p == PAGES -> p = 0; ret = EEXIST; break
	od
}

/* ret: 0, EEXIST, ENOMEM. */
inline grab_mapping_entry(want)
{
	ret = AGAIN;
	do
	:: ret == AGAIN ->
		radix_tree_walk(want);
		if
		:: entry == ABSENT -> grab_absent(want)
		:: entry == NODE && !mutated(PMD_WAITS_FOR_PTE) -> ret = EEXIST
		:: entry == NODE && mutated(PMD_WAITS_FOR_PTE) -> wait_for_ptes()
		:: is_entry(entry) -> grab_entry(want)
		fi
	:: ret == 0 -> locked(); break
	:: ret > AGAIN -> put_unlocked_mapping_entry(); break
	od
}
