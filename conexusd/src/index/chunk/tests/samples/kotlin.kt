package com.example

import kotlin.math.*
import java.util.Date as Day

/** Keeps accounts. */
@Serializable
data class Account<T>(val id: Int, var name: String = "") : Base(), Listener {
    private val created = Day()
    val size: Int
        get() = 2

    companion object {
        const val MAX = 3
        fun make() = Account<Int>(1)
    }

    constructor(name: String) : this(0, name)

    override suspend fun find(id: Int): Int {
        val local = 1
        return local
    }

    inner class Entry
}

interface Listener {
    fun changed()
}

object Registry {
    fun add(account: Account<*>) {}
}

enum class Color(val rgb: Int) {
    RED(1),
    GREEN(2);

    fun mixed() = rgb
}

typealias Id = String

fun String.shout(): String = uppercase()

const val TOP = 1
