package com.example

import scala.collection._
import java.util.{Date, List => JList}

/** Keeps accounts. */
@deprecated("old", "1")
case class Account[T](id: Int, name: String) extends Base with Listener {
  val created = new Date
  lazy val size: Int = 2
  type Key = Int

  def find(id: Int): Option[T] = {
    val local = 1
    None
  }

  private object Inner { def key = 1 }
}

object Account {
  implicit val ordering: Ordering[Account[_]] = null
  def apply(id: Int): Account[Int] = new Account(id, "")
}

trait Listener {
  def changed(): Unit
}

enum Color {
  case Red, Green
  case Mixed(rgb: Int)
}

given intOrd: Ord[Int] with {
  def compare(a: Int, b: Int) = a - b
}

extension (s: String)
  def shout: String = s.toUpperCase
