require 'set'
require_relative 'account/base'

LIMIT = 3

# Accounts.
module Bank
  class Account < Base
    include Enumerable
    attr_reader :name, :owner
    STATES = %i[open closed].freeze

    # Makes one.
    def initialize(name)
      @name = name
    end

    def self.build(name) = new(name)

    class << self
      def registry
        @registry ||= {}
      end
    end

    private

    def ==(other)
      name == other.name
    end
    alias_method :eql?, :==
    define_method(:dynamic) { 1 }
  end
end

class Bank::Error < StandardError; end

Point = Struct.new(:x, :y) do
  def distance
    Math.sqrt(x * x + y * y)
  end
end
