import Foundation
@testable import Accounts

/// Keeps accounts.
@objc public final class Account<T>: Base, Listener {
    static let max = 3
    @Published private var name: String = ""
    var size: Int {
        return 1
    }

    init(name: String) {
        self.name = name
    }

    deinit { close() }

    func find(_ id: Int) -> Int? {
        let local = 1
        return local
    }

    subscript(index: Int) -> Int { return index }

    struct Entry { }
}

protocol Listener {
    associatedtype Event
    var count: Int { get }
    func changed()
}

extension Account: Countable where T: Countable {
    func count() -> Int { 0 }
}

enum Color: String {
    case red, green
    case blue
}

typealias Id = String
let version = 1
func == (a: Id, b: Id) -> Bool { true }
