package com.example;

import java.util.List;
import static java.lang.Math.*;

/** Keeps accounts. */
@Entity
@Table(name = "account")
public class Account<T> extends Base implements Comparable<T> {
    public static final int MAX = 3;
    private String name, owner;

    static { load(); }

    /** Makes one. */
    public Account(String name) {
        this.name = name;
    }

    @Override
    public <R> List<R> find(int id) throws NotFound {
        Runnable task = () -> { int local = 1; };
        return null;
    }

    interface Listener {
        void changed();
    }

    enum Status { OPEN, CLOSED { boolean done() { return true; } } }

    record Point(int x, int y) { Point { check(x); } }

    @interface Marker { String value(); }
}
